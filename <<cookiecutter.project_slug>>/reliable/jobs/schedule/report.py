"""What `manage.py schedule` and the admin say to people."""

from collections.abc import Iterator, Sequence

from reliable.jobs import times
from reliable.jobs.report import table
from reliable.jobs.schedule.health import LastBeat
from reliable.jobs.schedule.status import Status

# Seconds without a sign after which beat is taken for dead.
_SILENT = 30


def silent(beat: LastBeat | None) -> bool:
    """Whether nothing ticks the schedule."""
    return beat is None or beat.stopped_at is not None or beat.seconds > _SILENT


def schedule(found: Sequence[Status], beat: LastBeat | None) -> Iterator[str]:
    if found:
        yield from table(
            ("ENTRY", "TASK", "WHEN", "LAST", "NEXT", "MISSED", "STATE"),
            (
                (
                    status.name,
                    status.task or "-",
                    status.timing,
                    times.local(status.last),
                    times.local(status.next),
                    status.missed,
                    state(status),
                )
                for status in found
            ),
        )
    else:
        yield "The schedule is empty: its entries stand in config/schedule.py."
    yield last_beat(beat)


def state(status: Status) -> str:
    if status.removed_at:
        return f"removed {times.local(status.removed_at)}"
    if status.paused_at:
        return f"paused {times.local(status.paused_at)} by {status.paused_by}"
    if status.overdue_since:
        return f"overdue since {times.local(status.overdue_since)}"
    return "ticks"


def last_beat(beat: LastBeat | None) -> str:
    if beat is None:
        return "No beat has ever run: nothing ticks. Start it on each host, as the supervisor does."
    if beat.stopped_at:
        return f"The last beat was stopped {times.lasting(beat.seconds)} ago: nothing ticks."
    what = "Beat was seen" if not silent(beat) else "Nothing ticks: beat was last seen"
    return f"{what} {times.lasting(beat.seconds)} ago, on {beat.host}."
