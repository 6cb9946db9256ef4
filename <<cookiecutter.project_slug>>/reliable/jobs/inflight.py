"""Unfinished jobs that this release cannot run: asked of a new release before it takes over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from reliable import queues
from reliable.jobs.arguments import BadArgument, bind
from reliable.jobs.database import rows
from reliable.jobs.lookup import find

# Unfinished jobs, by what decides whether a release can run them: whether arguments bind depends on
# their number and names alone. A scan of the table. Most calls have no keywords, and the subquery
# for their names is what costs; jsonb keeps them in one order.
_SHAPES = """
SELECT
    task, queue, jsonb_array_length(args) AS positional,
    CASE WHEN kwargs = '{}' THEN '{}'
        ELSE ARRAY(SELECT key FROM jsonb_object_keys(kwargs) AS key ORDER BY key COLLATE "C")
    END AS keywords,
    headers #>> '{django,backend}', count(*), min(id::text COLLATE "C")::uuid
FROM reliable_job
WHERE state IN ('held', 'waiting', 'running')
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
"""

_RENAMED = (
    "Keep the old name until they have ended, as a durable task with name= that calls the new one;"
    " or cancel them."
)
_CHANGED = (
    "Let the task take both forms until they have ended: give a new parameter a default, and keep"
    " one that was removed."
)
_UNDECLARED = "Declare the queue until they have ended."


@dataclass(frozen=True)
class Misfit:
    """Jobs of one task, queue and form of call, and why this release cannot run them."""

    task: str
    queue: str
    positional: int
    keywords: tuple[str, ...]
    count: int
    example: UUID
    why: str
    cure: str


def misfits() -> list[Misfit]:
    """What is held, waits or runs, and cannot run here; tasks must be loaded.

    One that runs is among them: when it fails, its next attempt is the new release's.
    """
    found = []
    for task, queue, positional, keywords, backend, count, example in rows(_SHAPES, {}):
        headers = {"django": {"backend": backend}} if backend else {}
        if reasons := list(_reasons(task, queue, positional, keywords, headers)):
            why = "; and ".join(why for why, _ in reasons)
            cure = " ".join(cure for _, cure in reasons)
            found.append(
                Misfit(task, queue, positional, tuple(keywords), count, example, why, cure)
            )
    return found


def _reasons(
    name: str, queue: str, positional: int, keywords: list[str], headers: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    task = find(name, queue, headers)
    if task is None:
        yield f"this release has no durable task {name}", _RENAMED
    else:
        try:
            bind(name, task.signature, [None] * positional, dict.fromkeys(keywords))
        except BadArgument as error:
            yield f"their arguments do not fit: {_said(name, error)}", _CHANGED
    known = queues.declared()
    if known and queue not in known:
        yield f"the queue {queue!r} is not declared (declared: {', '.join(known)})", _UNDECLARED


def _said(name: str, error: BadArgument) -> str:
    return str(error).removeprefix(f"{name}: ").rstrip(".")
