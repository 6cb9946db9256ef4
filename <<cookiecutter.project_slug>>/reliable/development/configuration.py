"""supervisor's configuration for development: the production layout, and the servers below it."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from reliable.development.paths import DEVELOPMENT
from reliable.development.services import Service
from reliable.queues import Queue
from reliable.supervisor.programs import Layout, Program
from reliable.supervisor.render import Place, daemon, generation, group, section

DEPLOY_ID = "dev"

# Lower starts earlier and stops later; the project's programs have supervisor's default of 999.
_SERVERS_FIRST = "10"
_PRELOADER_NEXT = "20"


def layout(queues: Mapping[str, Queue]) -> Layout:
    """The programs of this project as they run on a developer's machine."""
    return Layout(
        deploy_id=DEPLOY_ID,
        queues=queues,
        settings=settings.SUPERVISOR,
        run_dir=DEVELOPMENT.sockets,
        release=settings.RELEASE,
        environment={"WEB_CONCURRENCY": "1"},
    )


def programs(queues: Mapping[str, Queue], port: int) -> list[Program]:
    """Web, on 127.0.0.1:`port` too; a worker of one process a queue; relay; beat. All reload."""
    everything = layout(queues)
    return [
        _reloading(everything.web(binds=(f"127.0.0.1:{port}",))),
        *(_reloading(everything.worker(queue, concurrency=1), overlap=True) for queue in queues),
        _reloading(everything.relay(), overlap=True),
        _reloading(everything.beat(), overlap=True),
    ]


def render(services: list[Service], programs: list[Program]) -> str:
    """The whole file. Servers and the preloader start with supervisord, programs when told to."""
    place = Place(directory=DEVELOPMENT.project, log_dir=DEVELOPMENT.logs, home=Path.home())
    parts = [
        daemon(
            socket=DEVELOPMENT.supervisor_socket,
            log_dir=DEVELOPMENT.logs,
            run_dir=DEVELOPMENT.root,
        )
    ]
    for service in services:
        keys = {
            "command": shlex.join(service.server.command),
            "stopsignal": service.stop_signal,
            "priority": _SERVERS_FIRST,
            "startsecs": "0",
        }
        server = Program(service.name, module="", arguments=(), stop_wait=30)
        parts.append(section(server, place, keys))
    if programs:
        preloader = Program(
            name="preload",
            module="reliable.development.preload",
            arguments=(str(_preload_socket()),),
            stop_wait=10,
            # Celery's five lines at each start as root, which a container's developer often is.
            environment={"PYTHONWARNINGS": "ignore:You're running the worker with superuser"},
        )
        parts.append(section(preloader, place, {"priority": _PRELOADER_NEXT, "startsecs": "0"}))
        parts.append(generation(DEPLOY_ID, programs, place, {"autostart": "false"}))
    return "\n".join(parts)


def short_name(program: str) -> str:
    """`worker-mail-dev` as people type it: `worker-mail`."""
    return program.removesuffix(f"-{DEPLOY_ID}")


def full_name(program: str) -> str:
    """A program of the project as supervisor names it."""
    return f"{group(DEPLOY_ID)}:{program}"


def _reloading(program: Program, *, overlap: bool = False) -> Program:
    options = ("--overlap",) if overlap else ()
    arguments = (str(_preload_socket()), *options, program.module, *program.arguments)
    return replace(program, module="reliable.development.reloader", arguments=arguments)


def _preload_socket() -> Path:
    return DEVELOPMENT.sockets / "preload.sock"
