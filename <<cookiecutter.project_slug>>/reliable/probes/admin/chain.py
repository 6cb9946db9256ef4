"""The chain that a task travels, and which of its links is broken. Reads nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from reliable.probes.diagnosis import Verdict
from reliable.probes.health import WORST, Health
from reliable.probes.sentences import seconds
from reliable.probes.states import Hop, Kind, State

# So many pings may be missing before that is no accident.
_MISSED = 3

_WRONG = frozenset({State.SILENT, State.UNSENT, State.LATE})


@dataclass(frozen=True, slots=True)
class Link:
    """A link with how it is, and a few words about it."""

    name: str
    state: State
    says: str


def links(how: Health, *, jobs: bool, milliseconds: float, outside: Link) -> list[Link]:
    """In the order of the way. jobs: there are durable tasks, which a relay publishes.

    milliseconds: what the database took to say all this. outside: the last one, see there.
    """
    return [
        _beat(how),
        *([_relay(how)] if jobs else []),
        _broker(how),
        _queues(how),
        _workers(how),
        Link("database", State.OK, f"answers in {milliseconds:.0f} ms"),
        outside,
    ]


def outside(ago: float | None, *, wanted: bool, every: float) -> Link:
    """The dead man's switch. wanted: there is one. ago, every: seconds since and between pings."""
    if not wanted:
        return Link("outside", State.UNKNOWN, "no dead man's switch is set up")
    if ago is None:
        return Link("outside", State.UNKNOWN, "has heard nothing yet")
    if ago <= _MISSED * every:
        return Link("outside", State.OK, f"heard from us {seconds(ago)} ago")
    return Link("outside", State.SILENT, f"has heard nothing for {seconds(ago)}")


def _beat(how: Health) -> Link:
    says = "ticks" if how.beat.state == State.OK else how.beat.why.removeprefix("beat ")
    return Link("beat", how.beat.state, says)


def _relay(how: Health) -> Link:
    states = [verdict.state for _, verdict in how.of(Kind.RELAY)]
    alive = states.count(State.OK)
    if not states:
        return Link("relay", State.UNKNOWN, "none has reported")
    if alive == len(states):
        return Link("relay", State.OK, f"{alive} publish" + ("es" if alive == 1 else ""))
    return Link("relay", State.LATE if alive else State.SILENT, f"{alive} of {len(states)} publish")


def _broker(how: Health) -> Link:
    wrong = _wrong(how, {Hop.BROKER})
    if wrong:
        unsent = any(verdict.state == State.UNSENT for verdict in wrong)
        return Link("broker", _worst(wrong), "refuses messages" if unsent else "loses messages")
    if how.beat.state != State.OK:
        return Link("broker", State.UNKNOWN, "nobody asks")
    answered = any(verdict.state == State.OK for _, verdict in how.of(Kind.QUEUE))
    return Link(
        "broker",
        State.OK if answered else State.UNKNOWN,
        "delivers" if answered else "no answer to judge by",
    )


def _queues(how: Health) -> Link:
    lists = [verdict for _, verdict in how.of(Kind.QUEUE)]
    wrong = _wrong(how, {Hop.QUEUE})
    if wrong:
        return Link("queues", _worst(wrong), f"{_number(len(wrong), 'list')} without a reader")
    if any(each.state == State.PAUSED for each in lists):
        return Link("queues", State.PAUSED, "one or more are paused")
    if not lists or all(each.state in {State.UNKNOWN, State.UNSENT} for each in lists):
        return Link("queues", State.UNKNOWN, "no answer to judge by")
    return Link("queues", State.OK, "all have readers")


def _workers(how: Health) -> Link:
    workers = how.of(Kind.WORKER)
    wrong = _wrong(how, {Hop.WORKER, Hop.SLOTS})
    if wrong:
        ill = [each for each, verdict in workers if verdict in wrong]
        says = ", ".join(each.name for each in ill[:2]) or "its processes are busy"
        return Link("workers", _worst(wrong), says + (" and more" if ill[2:] else ""))
    if not workers:
        return Link("workers", State.UNKNOWN, "none has reported")
    return Link("workers", State.OK, f"{_number(len(workers), 'worker')} report" + _s(len(workers)))


def _wrong(how: Health, hops: set[Hop | None]) -> list[Verdict]:
    return [each for each in how.verdicts if each.hop in hops and each.state in _WRONG]


def _worst(verdicts: Iterable[Verdict]) -> State:
    return min((each.state for each in verdicts), key=WORST.index)


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _s(number: int) -> str:
    return "s" if number == 1 else ""
