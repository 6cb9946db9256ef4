"""A worker with a hard time limit that a test can wait for."""

from dataclasses import replace

from django.conf import settings

from reliable.testing.processes import Process
from reliable.testing.system import System


def limited_worker(system: System, seconds: int) -> Process:
    """Start a worker without a soft limit, which would end a task in its own process."""
    queue = settings.QUEUES["default"].copy()
    queue |= {"soft_time_limit": 0, "time_limit": seconds}
    program = replace(system.layout(), queues={"default": queue}).worker("default", concurrency=2)
    arguments = (*program.arguments, "--include", "reliable.testing.tasks")
    worker = system.start(replace(program, arguments=arguments))
    worker.wait_for_output(" ready.")
    return worker
