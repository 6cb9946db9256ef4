"""Which task a row means, in this release."""

from importlib import import_module
from typing import Any

from reliable.jobs import moving
from reliable.jobs.durable import DurableTask, registry


def find(name: str, queue: str, headers: dict[str, Any]) -> DurableTask[..., Any] | None:
    """The durable task of that name, or the plain task that it has become; None if this release
    knows neither.
    """
    return durable(name, queue, headers) or moving.of_plain(name)


def durable(name: str, queue: str, headers: dict[str, Any]) -> DurableTask[..., Any] | None:
    """The durable task of that name, declared so or by `@task` of Django's API."""
    found = registry.get(name)
    if found is None and "django" in headers:
        try:
            backend = import_module("reliable.jobs.backend")
        except ImportError:  # of a release that had Django's task API
            return None
        found = backend.of_job(name, queue, headers)
    return found
