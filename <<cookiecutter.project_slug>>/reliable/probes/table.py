"""The table of `manage.py queues`, for people."""

from collections.abc import Iterable, Sequence

from reliable.probes.health import Health, Judged
from reliable.probes.promises import promise
from reliable.probes.sentences import seconds
from reliable.probes.states import Kind, State

# A word beside each mark: nobody has to know the marks, or see colours.
_MARKS = {
    State.OK: " ",
    State.LATE: "!",
    State.SILENT: "X",
    State.UNSENT: "X",
    State.PAUSED: "=",
    State.UNKNOWN: "?",
}


def lines(how: Health) -> list[str]:
    """One sentence, the lists, the workers and relays, and why each that is not ok is so."""
    found = [how.why, ""]
    rows = [_list(each) for each in how.of(Kind.QUEUE)]
    found += _aligned(("", "list", "state", "latency", "promise", "waiting", "lost"), rows)
    if workers := how.of(Kind.WORKER):
        rows = [_worker(each) for each in workers]
        found += ["", *_aligned(("", "worker", "state", "release", "busy", "oldest task"), rows)]
    if relays := how.of(Kind.RELAY):
        rows = [(_mark(each), each[0].name, each[1].state, each[0].release) for each in relays]
        found += ["", *_aligned(("", "relay", "state", "release"), rows)]
    why = [
        f"{verdict.state}{f' ({verdict.hop})' if verdict.hop else ''}: {verdict.why}."
        for verdict in how.verdicts
        if verdict.state != State.OK
    ]
    return found + (["", *why] if why else [])


def _list(each: Judged) -> tuple[str, ...]:
    target, verdict = each
    warn, critical = promise([target.name])
    return (
        _mark(each),
        target.name,
        verdict.state,
        "-" if target.latency is None else f"{target.latency:.2f} s",
        f"{seconds(warn)}, {seconds(critical)}",
        "unknown" if target.waiting is None else f"{target.waiting:,}",
        f"{target.lost} of {target.sent}" if target.lost else "-",
    )


def _worker(each: Judged) -> tuple[str, ...]:
    target, verdict = each
    report = target.report
    oldest = max((task.seconds for task in report.running), default=None)
    return (
        _mark(each),
        target.name,
        verdict.state,
        target.release or "-",
        f"{len(report.running)} of {report.slots}",
        "-" if oldest is None else seconds(oldest),
    )


def _mark(each: Judged) -> str:
    return _MARKS[each[1].state]


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    listed = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in listed
    ]
