"""What `manage.py jobs` says to people: aligned columns and sentences."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reliable.jobs import inspection, times
from reliable.jobs.inflight import Misfit
from reliable.jobs.inspection import Details
from reliable.jobs.states import State
from reliable.jobs.stats import Stats

# Characters of an error in a list; `show` has all of it.
_ERROR = 80
# Seconds.
_TENTH, _MINUTE = 0.1, 60
# Columns that say something only when they are not zero.
_IF_ANY = ("offers", "suspect", "batched", "solo", "misfits", "unique_running", "is_unique")


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Aligned columns, numbers to the right."""
    lines = [[str(cell) for cell in row] for row in rows]
    numbers = [all(line[at].isdecimal() for line in lines) for at in range(len(headers))]
    lines.insert(0, list(headers))
    widths = [max(len(line[at]) for line in lines) for at in range(len(headers))]
    for line in lines:
        cells = zip(line, widths, numbers, strict=True)
        yield "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells
        ).rstrip()


def printable(line: str) -> str:
    """Without what could steer the terminal: an error may quote anybody's text."""
    return "".join(c if c.isprintable() else " " for c in line)


def jobs(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from table(
        ("ID", "STATE", "TASK", "QUEUE", "ATTEMPT", "ENQUEUED", "ENDED", "ERROR"),
        (
            (
                job["id"],
                job["state"],
                job["task"],
                job["queue"],
                f"{job['attempt']}/{job['max_attempts']}",
                times.local(job["created_at"]),
                times.local(job["finished_at"]),
                _short(job["error"]),
            )
            for job in found
        ),
    )


def page(found: Sequence[dict[str, Any]], *, more: bool) -> Iterator[str]:
    if not found:
        yield "There is no such job."
        return
    yield from jobs(found)
    if more:
        yield f"There are more: add --before {found[-1]['id']}"


def change(answer: dict[str, Any], done: str) -> Iterator[str]:
    """What became of `retry`, `discard` or `cancel`, or what would."""
    matched, changed = answer["matched"], answer["changed"]
    for job in answer["left_out"]:
        yield f"Job {job['id']} is {job['state']}: it cannot be {done}."
    if answer["dry_run"]:
        if answer["first"]:
            yield from jobs(answer["first"])
        yield f"{counted(matched)} would be {done}. Nothing was changed."
        return
    yield f"{counted(changed)} {done}."
    if changed < matched:
        yield f"{counted(matched - changed)} had changed meanwhile: left alone."


def details(found: Details) -> Iterator[str]:
    job = found.job
    yield f"{job['task']}, {job['state']}. {found.situation}".rstrip()
    for name, value in job.items():
        if value not in (None, "", [], {}) and (value or name not in _IF_ANY):
            yield f"  {name + ':':<18} {_value(value)}"
    yield "Arguments:" if found.arguments else "No arguments."
    for name, value in found.arguments.items():
        yield f"  {name + ':':<18} {_value(value)}"
    if found.parent:
        yield f"Enqueued by {_brief(found.parent)}"
    elif job["parent_id"]:
        yield f"Enqueued by {job['parent_id']}, which was purged."
    if found.children:
        most = inspection.MOST_CHILDREN
        more = found.children_in_all > most
        yield f"It enqueued {'more than ' if more else ''}{counted(found.children_in_all - more)}:"
        yield from (f"  {_brief(child)}" for child in found.children)
        if found.children_in_all > len(found.children):
            rest = found.children_in_all - more - len(found.children)
            yield f"  and {'more than ' if more else ''}{rest:,} more"
    for attempt in found.attempts:
        uncounted = "" if attempt["counted"] else ", not counted"
        began = attempt["started_at"] or attempt["ended_at"]
        lasted = times.lasting((attempt["ended_at"] - began).total_seconds())
        yield (
            f"Attempt of {times.local(began)}: {attempt['outcome']} after {lasted}{uncounted};"
            f" release {attempt['release'] or 'unknown'}, worker {attempt['worker']}."
        )
        # A traceback ends with the error.
        yield from (
            f"    {line}" for line in (attempt["traceback"] or attempt["error"]).splitlines()
        )


def stats(found: Stats) -> Iterator[str]:
    columns = ["held", "waiting", "scheduled", *map(str, tuple(State)[2:])]
    if not found.tasks:
        yield "There is no job."
    else:
        yield from table(
            ("TASK", "QUEUE", *(column.upper() for column in columns)),
            ((row["task"], row["queue"], *(row[each] for each in columns)) for row in found.tasks),
        )
    for row in found.queues:
        waits = "nothing waits"
        if row["due"]:
            oldest = times.lasting(row["oldest_seconds"])
            waits = f"{row['due']:,} wait, the oldest ({row['oldest_task']}) for {oldest}"
        paused = f"; paused {row['paused']}" if row.get("paused") else ""
        limit = f"; {row['limit']:,} may run at once" if row.get("limit") else ""
        yield f"Queue {row['queue']}: {waits}{limit}{paused}."
    if found.running:
        yield ""
        yield "Running now:"
        yield from table(
            ("ID", "TASK", "QUEUE", "FOR", "LIMIT", "WORKER"),
            (
                (
                    row["id"],
                    row["task"],
                    row["queue"],
                    times.lasting(row["seconds"]),
                    times.lasting(row["time_limit"]),
                    row["worker"] or "has left",
                )
                for row in found.running
            ),
        )
    if found.attempts:
        yield ""
        yield "Attempts that did not succeed:"
        yield from table(
            ("OUTCOME", "TASK", "COUNT", "LAST"),
            (
                (row["outcome"], row["task"], row["count"], times.local(row["last"]))
                for row in found.attempts
            ),
        )
    yield from _ran(found)


def _ran(found: Stats) -> Iterator[str]:
    for name, rows in (("queue", found.ran_by_queue), ("task", found.ran_by_task)):
        if rows:
            yield ""
            yield f"Since {times.local(found.since)}, by {name}:"
            yield from table(
                (
                    name.upper(),
                    *(("QUEUE",) if name == "task" else ()),
                    *("RUNS", "FAILURES", "DEAD", "WAITED p50", "p95", "p99", "RAN p50"),
                    *("p95", "p99"),
                ),
                (
                    (row[name], *((row["queue"],) if name == "task" else ()), *_figures(row))
                    for row in rows
                ),
            )


def _figures(row: dict[str, Any]) -> Iterator[Any]:
    yield from (row[each] for each in ("runs", "failures", "dead"))
    for kind in ("waited", "ran"):
        yield from (_duration(row[f"{kind}_p{percent}"]) for percent in (50, 95, 99))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < _TENTH else f"{seconds * 1000:.0f} ms"
    return times.lasting(seconds) if seconds >= _MINUTE else f"{seconds:.1f} s"


def inflight(found: Sequence[Misfit]) -> Iterator[str]:
    for misfit in found:
        yield (
            f"{counted(misfit.count)} of {misfit.task} in the queue {misfit.queue}, called with"
            f" {_call(misfit)} (for example {misfit.example}), cannot run: {misfit.why}."
            f" {misfit.cure}"
        )
    if found:
        total = sum(misfit.count for misfit in found)
        yield f"{counted(total)} would not run in this release."
    else:
        yield "This release can run every unfinished job."


def _call(misfit: Misfit) -> str:
    plural = "" if misfit.positional == 1 else "s"
    call = [f"{misfit.positional} positional argument{plural}"] if misfit.positional else []
    call += [f"{name}=" for name in misfit.keywords]
    return " and ".join(call) or "no arguments"


def counted(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"


def _brief(job: dict[str, Any]) -> str:
    return f"{job['id']}  {job['state']:<9}  {job['task']}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _ERROR else f"{line[: _ERROR - 1]}…"


def _value(value: Any) -> str:
    if hasattr(value, "tzinfo"):
        return times.local(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
