"""What the health endpoints and `manage.py queues` say: one document, from one look at the table.

Imports no Celery, and asks no broker: it says what it knows with Redis down.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reliable.probes import watch
from reliable.probes.diagnosis import Verdict, judged
from reliable.probes.options import options
from reliable.probes.promises import promise, queue_of
from reliable.probes.seen import Seen, look
from reliable.probes.states import FAILING, Hop, Kind, State

#: From bad to good, for one word about several.
WORST = (State.SILENT, State.UNSENT, State.LATE, State.UNKNOWN, State.PAUSED, State.OK)

Judged = watch.Judged


@dataclass(frozen=True, slots=True)
class Health:
    """How everything is. `failing`: something does not answer, or beat does not ask."""

    judged: list[Judged]

    def of(self, kind: Kind) -> list[Judged]:
        return [each for each in self.judged if each[0].kind == kind]

    @property
    def beat(self) -> Verdict:
        nobody = Verdict(State.SILENT, "beat has never ticked", Hop.BEAT)
        return next((verdict for _, verdict in self.of(Kind.BEAT)), nobody)

    @property
    def verdicts(self) -> list[Verdict]:
        return [self.beat, *(verdict for each, verdict in self.judged if each.kind != Kind.BEAT)]

    @property
    def failing(self) -> bool:
        return any(verdict.failing for verdict in self.verdicts)

    @property
    def status(self) -> str:
        """One word: failing, late, unknown or ok."""
        if self.failing:
            return "failing"
        worst = min((verdict.state for verdict in self.verdicts), key=WORST.index)
        return State.OK if worst == State.PAUSED else worst

    @property
    def why(self) -> str:
        """A sentence: what is wrong, or that nothing is."""
        for states in (FAILING, {State.LATE}, {State.UNKNOWN}):
            wrong = [verdict for verdict in self.verdicts if verdict.state in states]
            if wrong:
                more = f" And {len(wrong) - 1} more." if len(wrong) > 1 else ""
                return f"{wrong[0].why}.{more}"
        return f"Beat ticks, and all {len(self.of(Kind.QUEUE))} lists answer in time."

    def only(self, queue: str) -> "Health":
        """Of one queue: its lists, their workers, and beat, which asks."""
        names = {each.name for each, _ in self.of(Kind.QUEUE) if queue_of(each.name) == queue}
        return Health(
            [
                (each, verdict)
                for each, verdict in self.judged
                if each.kind == Kind.BEAT
                or (each.kind == Kind.QUEUE and each.name in names)
                or (each.kind == Kind.WORKER and names & set(each.report.queues))
            ]
        )

    def document(self) -> dict[str, Any]:
        """For machines. Times are seconds, or seconds ago."""
        beats = [each.seen_ago for each, _ in self.of(Kind.BEAT)]
        return {
            "status": self.status,
            "why": self.why,
            "beat": {**_verdict(self.beat), "ticked_ago": _round(next(iter(beats), None))},
            "queues": [_list(each, verdict) for each, verdict in self.of(Kind.QUEUE)],
            "workers": [_worker(each, verdict) for each, verdict in self.of(Kind.WORKER)],
            "relays": [
                {"name": each.name, **_verdict(verdict), "release": each.release}
                for each, verdict in self.of(Kind.RELAY)
            ],
        }


def health() -> Health:
    """How everything is now. Raises Django's database errors."""
    return Health(judged(look(), options(), paused=watch.paused()))


def _list(target: Seen, verdict: Verdict) -> dict[str, Any]:
    warn, critical = promise([target.name])
    return {
        "name": target.name,
        **_verdict(verdict),
        "latency": _round(target.latency),
        "warn": warn,
        "critical": critical,
        "sent_ago": _round(target.sent_ago),
        "returned_ago": _round(target.returned_ago),
        "waiting": target.waiting,
        **_counts(target),
        "release": target.release,
    }


def _worker(target: Seen, verdict: Verdict) -> dict[str, Any]:
    report = target.report
    return {
        "name": target.name,
        **_verdict(verdict),
        "release": target.release,
        "reads": report.reading,
        "slots": report.slots,
        "busy": len(report.running),
        "oldest_task": _round(max((each.seconds for each in report.running), default=None)),
        "latency": _round(target.latency),
        "seen_ago": _round(target.seen_ago),
        **_counts(target),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    hop = None if verdict.hop is None else str(verdict.hop)
    return {"state": str(verdict.state), "hop": hop, "why": f"{verdict.why}."}


def _counts(target: Seen) -> dict[str, int]:
    return {name: getattr(target, name) for name in ("sent", "returned", "expired", "lost")}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def names(judged_lists: Iterable[Judged]) -> list[str]:
    """The queues of these lists, each once."""
    return list(dict.fromkeys(queue_of(each.name) for each, _ in judged_lists))
