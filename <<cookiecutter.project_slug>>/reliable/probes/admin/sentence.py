"""What stands at the top of the page: what is wrong, or that all is well. Reads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from reliable.probes.admin.rows import QueueRow
from reliable.probes.health import Health, Judged
from reliable.probes.numbers import counted
from reliable.probes.promises import queue_of
from reliable.probes.sentences import seconds
from reliable.probes.states import FAILING, Hop, Kind, State
from reliable.provider import FailedGroup

# Where the cause stands, if several links fail at once.
_FIRST = (Kind.BEAT, Kind.RELAY, Kind.QUEUE, Kind.WORKER)


@dataclass(frozen=True, slots=True)
class Sentence:
    """word: broken, late, unknown, failed jobs or well. state: how it is drawn. since: seconds."""

    word: str
    state: State
    says: str
    more: Sequence[str]
    since: float | None = None


def sentence(how: Health, rows: Sequence[QueueRow], failed: Sequence[FailedGroup]) -> Sentence:
    """From the cause, what it does to queues, and what waits for a decision."""
    for states, word, state in (
        (FAILING, "broken", State.SILENT),
        ({State.LATE}, "late", State.LATE),
        ({State.UNKNOWN}, "unknown", State.UNKNOWN),
    ):
        if how.beat.state in states and not how.of(Kind.BEAT):
            return Sentence(word, state, _capital(how.beat.why), _rest(rows, failed))
        wrong = [each for each in how.judged if each[1].state in states]
        if wrong:
            first = min(wrong, key=lambda each: _FIRST.index(each[0].kind))
            target, verdict = first
            return Sentence(
                word,
                state,
                _cause(first, how),
                [*_waiting(target.name, rows), *_rest(rows, failed)],
                target.state_for if target.state == verdict.state else None,
            )
    if failed:
        return Sentence("failed jobs", State.LATE, _in_time(rows), _failed(failed))
    return Sentence("all is well", State.OK, _in_time(rows), _paused(rows))


def _cause(first: Judged, how: Health) -> str:
    target, verdict = first
    lists = [each for _, each in how.of(Kind.QUEUE)]
    if target.kind == Kind.QUEUE and all(
        each.hop == Hop.BROKER and each.state == State.UNSENT for each in lists
    ):
        ago = seconds(target.error_ago)
        return f"The broker has not taken a message for {ago}: {target.error.rstrip('.')}."
    return _capital(verdict.why, keep=target.name)


def _waiting(name: str, rows: Sequence[QueueRow]) -> list[str]:
    """What waits where the cause is."""
    row = next((row for row in rows if row.name == queue_of(name)), None)
    if row is None or row.stats is None or not row.stats.waiting:
        return []
    number = counted(row.stats.waiting)
    oldest = "" if row.oldest is None else f", the oldest for {seconds(row.oldest)}"
    one = row.stats.waiting == 1
    return [f"{number} job{' waits' if one else 's wait'} in {row.name}{oldest}."]


def _rest(rows: Sequence[QueueRow], failed: Sequence[FailedGroup]) -> list[str]:
    """The other queues, by how they are."""
    well = [row.name for row in rows if row.state == State.OK]
    bad = [row.name for row in rows if row.state in FAILING]
    said = []
    if len(bad) > 1:
        said.append(f"{_listed(bad)} do not answer.")
    if well:
        said.append(f"{_listed(well)} answer{'s' if len(well) == 1 else ''} in time.")
    elif rows and all(row.state == State.UNKNOWN for row in rows):
        said.append("So nobody knows whether queues move.")
    return [*said, *_paused(rows), *_failed(failed)]


def _paused(rows: Sequence[QueueRow]) -> list[str]:
    return [row.why[0] for row in rows if row.paused and row.why]


def _failed(failed: Sequence[FailedGroup]) -> list[str]:
    number = sum(group.count for group in failed)
    if not number:
        return []
    one = number == 1
    return [f"{counted(number)} failed job{' waits' if one else 's wait'} for a decision."]


def _in_time(rows: Sequence[QueueRow]) -> str:
    asked = [row.name for row in rows if row.state == State.OK]
    if not asked:
        return "Beat ticks, and every queue is paused."
    return f"Beat ticks, and {_listed(asked)} answer{'s' if len(asked) == 1 else ''} in time."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _capital(text: str, keep: str = "") -> str:
    """A sentence; the name of something keeps its letters."""
    named = keep != "beat" and keep and text.startswith(keep)
    return f"{text if named else text[:1].upper() + text[1:]}."
