"""Which task a row means, in this release."""

from typing import Any

from reliable.jobs import moving
from reliable.jobs.durable import DurableTask, registry


def find(name: str, queue: str, headers: dict[str, Any]) -> DurableTask[..., Any] | None:
    """The durable task of that name, the plain task that it has become, or the `@task` of Django's
    API that enqueued it; None if this release knows none of them.
    """
    found = registry.get(name) or moving.of_plain(name)
    if found is None and "django" in headers:
        from reliable.jobs import backend

        found = backend.of_job(name, queue, headers)
    return found
