"""Who notices: beat at its tick, and each worker's parent beside its reports. One at a time judges.

So a dead beat is noticed by a worker, and a dead worker by beat or by another. When nothing is
left, the health endpoints say so to whoever asks from outside.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from django.dispatch import Signal

from reliable import provider
from reliable.probes import sql
from reliable.probes.database import Session
from reliable.probes.diagnosis import Verdict, judged
from reliable.probes.options import Options
from reliable.probes.seen import Seen, look
from reliable.probes.states import ALARMS, RELAYS, State

_EVENTS = {
    State.OK: ("probe.ok", logging.INFO),
    State.LATE: ("probe.late", logging.WARNING),
    State.SILENT: ("probe.silent", logging.ERROR),
    State.UNSENT: ("probe.unsent", logging.ERROR),
    State.PAUSED: ("probe.paused", logging.INFO),
    State.UNKNOWN: ("probe.unknown", logging.INFO),
}

logger = structlog.stdlib.get_logger("reliable.probes")
# Of its own, for Sentry not to take the lines of changes: alarms/ tells it.
_changes = structlog.stdlib.get_logger("reliable.probes.changes")

#: A target, and how it was judged.
Judged = tuple[Seen, Verdict]

#: Sent after each look at all states, by whoever looked: `session` is its connection, `judged` a
#: list of Judged. A receiver may take milliseconds; what it raises is logged.
looked = Signal()

#: Sent after a look at all states in which some have changed, in the one process that wrote it
#: down, beat or a worker's parent: `sender` is None, `changes` a list of Change. A receiver may
#: take seconds, not minutes; what it raises is logged.
changed = Signal()


@dataclass(frozen=True, slots=True)
class Change:
    """A target that was `before` for `lasted` seconds, and is `verdict.state` now.

    `alarm`: somebody is to be told, also that it is well again.
    """

    target: Seen
    before: State
    verdict: Verdict
    lasted: float
    alarm: bool


def judge(session: Session, said: Options) -> list[Change]:
    """Note what has changed, unless somebody did so a moment ago.

    Raises Django's database errors.
    """
    if not session.rows(sql.JUDGE, {"gap": said.gap, "every": said.judge}):
        return []
    _relays(session, said)
    picture = look(session.rows)
    changes = []
    found = judged(picture, said, paused=paused())
    for target, verdict in found:
        if verdict.state == target.state:
            continue
        if (change := _note(session, target, verdict)) is not None:
            changes.append(change)
            _say(change)
    answers = looked.send_robust(sender=None, session=session, judged=found)
    if changes:
        answers += changed.send_robust(sender=None, changes=changes)
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            logger.error("probe.alarm_failed", receiver=str(receiver), exc_info=answer)
    return changes


def paused() -> Mapping[str, str]:
    """The paused queues: since when and by whom, for the middle of a sentence."""
    source = provider.registered()
    if source is None:
        return {}
    return {
        name: f"since {pause.since:%H:%M} UTC by {pause.by or 'somebody'}"
        + (f" ({pause.why})" if pause.why else "")
        for name, pause in source.paused().items()
    }


def _relays(session: Session, said: Options) -> None:
    source = provider.registered()
    if source is None:
        return
    seen = {each.name: (each.release, each.seen) for each in source.relays()}
    seen = {name: each for name, each in seen.items() if each[1] <= said.forget}
    if seen:
        seen[RELAYS] = min(seen.values(), key=lambda each: each[1])
    else:
        session.rows(sql.NO_RELAY, {"name": RELAYS})
    session.rows(
        sql.RELAYS,
        {
            "names": list(seen),
            "releases": [release for release, _ in seen.values()],
            "seen": [ago for _, ago in seen.values()],
        },
    )
    session.rows(sql.RETIRE_RELAYS, {"names": [RELAYS, *seen]})


def _note(session: Session, target: Seen, verdict: Verdict) -> Change | None:
    before, after = target.state, verdict.state
    alarm = before in ALARMS.get(after, set())
    noted = session.rows(
        sql.CHANGE,
        {
            "id": target.id,
            "before": before,
            "after": after,
            "hop": verdict.hop or "",
            "why": verdict.why,
            "alarm": alarm,
        },
    )
    return Change(target, before, verdict, noted[0][0], alarm) if noted else None


def _say(change: Change) -> None:
    verdict = change.verdict
    event, level = _EVENTS[verdict.state]
    hop = {"hop": str(verdict.hop)} if verdict.hop else {}
    _changes.log(
        level,
        event,
        kind=str(change.target.kind),
        target=change.target.name,
        was=str(change.before),
        lasted=round(change.lasted),
        why=verdict.why,
        **hop,
    )
