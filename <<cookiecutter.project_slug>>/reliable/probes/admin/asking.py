"""Probe now: a question down the real road, and what came of it. Only this speaks to the broker."""

import time
from typing import NamedTuple

from django.db import DatabaseError

from reliable.probes import sql
from reliable.probes.database import Session
from reliable.probes.diagnosis import evidence
from reliable.probes.options import options
from reliable.probes.promises import queue_of
from reliable.probes.seen import Seen, look
from reliable.probes.sender import Sender
from reliable.probes.states import Kind

# Seconds that a request waits for an answer, and between two looks.
_PATIENCE, _PAUSE = 2.0, 0.05


class Asked(NamedTuple):
    """Whether every list of the queue has answered, and a sentence."""

    answered: bool
    says: str


def ask(queue: str) -> Asked:
    """Ask a queue's lists, unless a question is on its way, and wait a moment for the answers.

    Raises LookupError if nobody watches such a queue, and DatabaseError.
    """
    session = Session()
    sender = Sender(session)
    try:
        picture = look(session.rows)
        targets = [each for each in picture.of(Kind.QUEUE) if queue_of(each.name) == queue]
        if not targets:
            raise LookupError(f"No queue {queue!r} is watched. Beat adds each that is declared.")
        for number, target in enumerate(targets):
            try:
                sender.ask(target, picture)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - kombu's and redis-py's have no common one
                text = f"{type(error).__name__}: {error}".strip()
                ids = [each.id for each in targets[number:]]
                session.rows(sql.UNSENT, {"ids": ids, "error": text[:500]})
                return Asked(
                    answered=False, says=f"The list {target.name} could not be asked: {text}"
                )
        return _wait(session, targets)
    finally:
        sender.close()
        session.close()


def _wait(session: Session, targets: list[Seen]) -> Asked:
    before = {each.id: each.returned for each in targets}
    deadline = time.monotonic() + _PATIENCE
    while True:
        picture = look(session.rows)
        asked = [each for each in picture.of(Kind.QUEUE) if each.id in before]
        missing = [each for each in asked if each.returned == before[each.id]]
        if not missing:
            answers = "; ".join(
                f"the list {each.name} answered in {each.latency or 0:.2f} s, from {each.worker}"
                for each in asked
            )
            return Asked(answered=True, says=f"{answers[:1].upper()}{answers[1:]}.")
        if time.monotonic() >= deadline:
            why = evidence(picture, options(), missing[0]).why
            return Asked(
                answered=False,
                says=f"The list {missing[0].name} was asked, and has not answered within"
                f" {_PATIENCE:g} s: {why}. Its row shows the answer when it comes.",
            )
        time.sleep(_PAUSE)
