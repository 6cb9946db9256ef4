"""From what the table says to a state, the link that failed, and a sentence. Reads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from reliable.probes import sentences
from reliable.probes.options import Options
from reliable.probes.promises import promise, queue_of
from reliable.probes.seen import Picture, Report, Running, Seen
from reliable.probes.sentences import seconds
from reliable.probes.states import FAILING, RELAYS, Hop, Kind, State

# How often in a row a probe may get lost on its way before that is no accident.
_LOST = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a target is, and why. `hop` is None if nothing failed."""

    state: State
    why: str
    hop: Hop | None = None

    @property
    def failing(self) -> bool:
        return self.state in FAILING


def judged(
    picture: Picture,
    said: Options,
    *,
    paused: Mapping[str, str] | None = None,
) -> list[tuple[Seen, Verdict]]:
    """Each target with its verdict. `paused`: the paused queues, with since when and by whom."""
    return _Judge(picture, said, paused or {}).all()


def evidence(picture: Picture, said: Options, target: Seen) -> Verdict:
    """Why a list may not answer, whether it is late already or not."""
    hop, why = _Judge(picture, said, {}).why_silent(target)
    return Verdict(State.SILENT, why, hop)


class _Judge:
    def __init__(self, picture: Picture, said: Options, paused: Mapping[str, str]) -> None:
        self.picture = picture
        self.said = said
        self.paused = paused
        self.workers = picture.of(Kind.WORKER)
        self.beat = self._of_beat(next(iter(picture.of(Kind.BEAT)), None))

    def all(self) -> list[tuple[Seen, Verdict]]:
        return [(target, self._one(target)) for target in self.picture.targets]

    def _one(self, target: Seen) -> Verdict:
        match target.kind:
            case Kind.BEAT:
                return self.beat
            case Kind.RELAY:
                return self._of_relay(target)
            case Kind.QUEUE:
                return self._of_queue(target)
            case Kind.WORKER:
                return self._of_worker(target)

    # --- Ages ------------------------------------------------------------------------------------

    def _age(self, seconds: float | None, target: Seen) -> float:
        """For how long something has not happened; what never did counts since it is known."""
        return min(target.created_ago if seconds is None else seconds, self.picture.watched)

    def _may_not_have_left(self, target: Seen) -> bool:
        """Beat has noted the question, and was killed or frozen before the end of that tick."""
        beat = next(iter(self.picture.of(Kind.BEAT)), None)
        if beat is None or beat.seen_ago is None or target.sent_ago is None:
            return False
        ended = beat.returned_ago is not None and beat.returned_ago <= beat.seen_ago
        asked_in_it = target.outstanding and target.sent_ago <= beat.seen_ago
        return asked_in_it and not ended and target.lost_in_row == 0

    def _fresh(self, worker: Seen) -> bool:
        """It has reported so lately that what it says is how it is."""
        return self._age(worker.seen_ago, worker) <= 2 * self.said.report + 2

    # --- Beat and relays -------------------------------------------------------------------------

    def _of_beat(self, beat: Seen | None) -> Verdict:
        if beat is None:
            return Verdict(State.UNKNOWN, "beat has not ticked yet", Hop.BEAT)
        age = self._age(beat.seen_ago, beat)
        if age > self.said.tick:
            why = f"beat has not ticked for {seconds(beat.seen_ago)}"
            taking = [each for each in self.workers if self._fresh(each)]
            if taking and not any(each.report.reading for each in taking):
                # Celery's own beat does not tick before it has reached the broker once.
                why = f"{why}, and no worker reaches the broker, for which it may wait"
                return Verdict(State.SILENT, why, Hop.BROKER)
            return Verdict(State.SILENT, why, Hop.BEAT)
        return Verdict(State.OK, f"beat ticked {seconds(beat.seen_ago)} ago")

    def _of_relay(self, relay: Seen) -> Verdict:
        if self._age(relay.seen_ago, relay) <= self.said.dead:
            if relay.seen_ago is None:
                return Verdict(State.UNKNOWN, "no relay has reported yet", Hop.RELAY)
            return Verdict(State.OK, f"{relay.name} reported {seconds(relay.seen_ago)} ago")
        if relay.name == RELAYS:
            since = "ever" if relay.seen_ago is None else f"for {seconds(relay.seen_ago)}"
            why = f"no relay has reported {since}, so that durable tasks wait in the database"
            return Verdict(State.SILENT, why, Hop.RELAY)
        others = [
            each
            for each in self.picture.of(Kind.RELAY)
            if each.name != RELAYS and self._age(each.seen_ago, each) <= self.said.dead
        ]
        rest = (
            f"{sentences.count(len(others), 'other')} publish{'es' if len(others) == 1 else ''}"
            if others
            else "no other publishes, so that durable tasks wait in the database"
        )
        return Verdict(
            State.SILENT,
            f"the relay {relay.name} has not reported for {seconds(relay.seen_ago)}; {rest}",
            Hop.RELAY,
        )

    # --- Lists -----------------------------------------------------------------------------------

    def _of_queue(self, target: Seen) -> Verdict:
        if since := self.paused.get(queue_of(target.name)):
            return Verdict(State.PAUSED, f"{target.name} is paused {since}")
        if target.state == State.PAUSED:
            return Verdict(State.UNKNOWN, f"{target.name} was paused until a moment ago")
        asked = self._of_probe(target, promise([target.name]), target.name)
        if asked.hop is None and asked.state in {State.SILENT, State.LATE}:
            hop, evidence = self.why_silent(target)
            return Verdict(asked.state, f"{asked.why}: {evidence}", hop)
        return asked

    def _of_probe(self, target: Seen, latency: tuple[float, float], name: str) -> Verdict:
        """What the probe alone tells. Without a hop where its cause is to be found."""
        warn, critical = latency
        waits = target.outstanding or target.lost_in_row > 0
        age = self._age(target.asked_ago, target) if waits else 0.0
        if age > warn and self._may_not_have_left(target):
            return Verdict(
                State.UNKNOWN, f"{name} was to be asked when beat stopped in its tick", Hop.BEAT
            )
        if age > critical or target.lost_in_row >= _LOST:
            return Verdict(State.SILENT, f"{name} has not answered {sentences.since(target)}")
        error_age = self._age(target.error_ago, target) if target.error_ago is not None else 0.0
        if error_age > min(critical, 2 * self.said.interval):
            return Verdict(
                State.UNSENT,
                f"{name} could not be asked for {seconds(target.error_ago)}: {target.error}",
                Hop.BROKER,
            )
        if age > warn:
            return Verdict(State.LATE, f"{name} was asked {seconds(target.asked_ago)} ago")
        if self.beat.state is State.SILENT:
            return Verdict(State.UNKNOWN, f"{name} is not asked: {self.beat.why}", self.beat.hop)
        if target.returned_ago is None or target.latency is None:
            return Verdict(State.UNKNOWN, f"{name} has not answered yet")
        if target.latency > warn:
            return Verdict(
                State.LATE, f"{name} took {seconds(target.latency)}, and promises {seconds(warn)}"
            )
        return Verdict(State.OK, f"{name} answers in {target.latency:.2f} s")

    def why_silent(self, target: Seen) -> tuple[Hop, str]:
        name = target.name
        meant = [worker for worker in self.workers if name in worker.report.queues]
        alive = [worker for worker in meant if self._fresh(worker)]
        taking = [worker for worker in alive if worker.report.stopping is None]
        readers = [worker for worker in taking if name in worker.report.reading]
        if not meant:
            others = ", ".join(sorted({each.name for each in self.workers if self._fresh(each)}))
            return Hop.QUEUE, f"no worker reads it (workers: {others or 'none'})"
        if not alive:
            latest = min(meant, key=lambda each: each.seen_ago or 0.0)
            return Hop.WORKER, f"its worker {sentences.silent_worker(latest)}"
        if not taking:
            return Hop.WORKER, f"its worker {sentences.stopping(alive[0])}"
        if not readers:
            return Hop.QUEUE, f"its worker {taking[0].name} is alive, but does not read it any more"
        waiting = f"{target.waiting} wait; " if target.waiting else ""
        for worker in readers:
            if worker.report.stuck:
                return Hop.SLOTS, waiting + sentences.stuck(worker)
        if all(worker.report.busy for worker in readers):
            return Hop.SLOTS, waiting + sentences.busy(readers[0])
        idle = next(worker for worker in readers if not worker.report.busy)
        if target.waiting:
            nothing = f"{idle.name} reads the list and is idle, but gets nothing from the broker"
            return Hop.BROKER, waiting + nothing
        return Hop.BROKER, f"the list is empty and {idle.name} is idle: the message got lost"

    # --- Workers ---------------------------------------------------------------------------------

    def _of_worker(self, worker: Seen) -> Verdict:
        warn, critical = promise(worker.report.queues)
        age = self._age(worker.seen_ago, worker)
        if age > self.said.dead:
            return Verdict(State.SILENT, sentences.silent_worker(worker), Hop.WORKER)
        report = worker.report
        if over := _overdue(report):
            late = over.seconds - (over.limit or 0.0)
            state = State.SILENT if late > critical else State.LATE
            return Verdict(
                state,
                f"{worker.name} runs {over.task} for {seconds(over.seconds)}, which may take"
                f" {seconds(over.limit)}",
                Hop.SLOTS,
            )
        if report.stopping is not None:
            return Verdict(State.PAUSED, sentences.stopping(worker))
        # It was taken up to one report earlier than it was noticed.
        if report.stuck and report.waited + self.said.report > self.said.dead:
            return Verdict(State.SILENT, sentences.stuck(worker), Hop.SLOTS)
        missing = sorted(set(report.queues) - set(report.reading))
        away = worker.error_ago is not None
        if missing and report.not_reading > critical and not away:
            return Verdict(
                State.SILENT,
                f"{worker.name} is alive, but does not read {' and '.join(missing)} any more",
                Hop.QUEUE,
            )
        asked = self._of_probe(worker, (warn, critical), worker.name)
        if asked.hop is None and asked.state in {State.SILENT, State.LATE}:
            hop, evidence = _why_worker_silent(worker)
            return Verdict(asked.state, f"{asked.why}: {evidence}", hop)
        return asked


def _why_worker_silent(worker: Seen) -> tuple[Hop, str]:
    if worker.report.stuck:
        return Hop.SLOTS, sentences.stuck(worker)
    if worker.report.busy:
        return Hop.SLOTS, sentences.busy(worker)
    if worker.waiting:
        return Hop.BROKER, "it is alive and idle, but gets nothing from the broker"
    return Hop.BROKER, "it is alive and idle: the message got lost on its way"


def _overdue(report: Report) -> Running | None:
    over = [each for each in report.running if each.limit and each.seconds > each.limit + 1]
    return max(over, key=lambda each: each.seconds - (each.limit or 0.0), default=None)
