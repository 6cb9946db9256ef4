"""Which task a row means, in this release."""

from typing import Any

from reliable.jobs import moving
from reliable.jobs.durable import DurableTask, registry


def find(name: str) -> DurableTask[..., Any] | None:
    """The durable task of that name, or the plain task that it has become; None if this release
    knows neither.
    """
    return registry.get(name) or moving.of_plain(name)
