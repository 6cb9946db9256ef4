"""After each look at all states: who has to be told what, and by whom.

What somebody was told last stands in the target's row, and whoever changes that tells: over all
beats and workers each change is told once. What changes while alarms are muted is told at the end
of that, if it is still so. A process that dies between the two tells nothing; the dead man's switch
hears from the next one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from reliable.probes import sql, watch
from reliable.probes.alarms import mail, sentry, switch, webhook
from reliable.probes.alarms.message import Alarm
from reliable.probes.alarms.options import Outlets, outlets
from reliable.probes.alarms.post import Post, described
from reliable.probes.database import Session
from reliable.probes.states import FAILING, State

# Seconds between two pings of the switch; a service may refuse more than five in a minute.
PING_EVERY = 60.0

_post = Post()


def connect() -> None:
    """Listen to looks. Raises ImproperlyConfigured for settings that name nobody."""
    outlets()
    watch.looked.connect(_looked, dispatch_uid="reliable.probes.alarms")


def trial() -> dict[str, str]:
    """Send a test to each outlet now: its name, and why it took none; empty if it did."""
    whom = outlets()
    test = Alarm(
        kind="test",
        target="test",
        state=State.LATE,
        before=State.OK,
        lasted=0.0,
        hop="",
        why="This is a test of alarms: nothing is wrong.",
        runbook="late",
    )
    sends: dict[str, Callable[[], None]] = {
        name: partial(send, whom, [test]) for name, send in _senders(whom).items()
    }
    if whom.ping:
        sends["ping"] = partial(switch.send, whom, "This is a test of alarms.", failing=False)
    found = {}
    for name, send in sends.items():
        try:
            send()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is to be read
            found[name] = described(error)
        else:
            found[name] = ""
    return found


def _looked(session: Session, judged: list[watch.Judged], **_: Any) -> None:
    whom = outlets()
    muted = bool(session.rows(sql.MUTED))
    senders = _senders(whom)
    if senders and not muted:
        alarms = _untold(session, judged)
        for name, send in senders.items():
            if alarms:
                _post.send(name, partial(send, whom, alarms))
    if whom.ping:
        _ping(session, whom, judged, muted=muted)


def _senders(whom: Outlets) -> dict[str, Callable[[Outlets, list[Alarm]], None]]:
    wanted = {
        "webhook": (bool(whom.webhook), webhook.send),
        "mail": (bool(whom.addresses), mail.send),
        "sentry": (whom.sentry and sentry.active(), sentry.send),
    }
    return {name: send for name, (is_wanted, send) in wanted.items() if is_wanted}


def _untold(session: Session, judged: list[watch.Judged]) -> list[Alarm]:
    told = {each: (State(state), since) for each, state, since in session.rows(sql.TOLD)}
    alarms = []
    for target, verdict in judged:
        before, lasted = told.get(target.id, (State.OK, 0.0))
        if not to_tell(before, verdict.state):
            continue
        change = {"id": target.id, "before": before, "after": verdict.state}
        if session.rows(sql.TELL, change):
            alarms.append(Alarm.of(target, verdict, before, lasted))
    return alarms


def to_tell(told: State, state: State) -> bool:
    """Whether somebody who was told the one is to be told the other.

    Not that something is paused or unknown, nor that what was silent is only late.
    """
    if state in {State.PAUSED, State.UNKNOWN, told}:
        return False
    return not (state == State.LATE and told in FAILING)


def _ping(session: Session, whom: Outlets, judged: list[watch.Judged], *, muted: bool) -> None:
    """The switch hears that all is well, or what is not; while alarms are muted, that we live."""
    wrong = [verdict.why for _, verdict in judged if verdict.failing and not muted]
    if session.rows(sql.PING, {"failing": bool(wrong), "every": PING_EVERY}):
        text = "\n".join(f"{why}." for why in wrong)
        _post.send("ping", partial(switch.send, whom, text, failing=bool(wrong)))
