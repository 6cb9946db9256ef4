"""What somebody is told of one target."""

from dataclasses import dataclass
from typing import Any

from reliable.probes.diagnosis import Verdict
from reliable.probes.seen import Seen
from reliable.probes.sentences import seconds
from reliable.probes.states import Hop, State

# By the link that failed, for what is silent.
_RUNBOOKS = {
    Hop.BEAT: "beat-silent",
    Hop.RELAY: "relay-silent",
    Hop.BROKER: "broker-does-not-deliver",
    Hop.QUEUE: "list-not-read",
    Hop.WORKER: "worker-silent",
    Hop.SLOTS: "slots-blocked",
}


def runbook(verdict: Verdict) -> str:
    """The name of the page that says what to do; empty if there is nothing to be done."""
    match verdict.state:
        case State.LATE:
            return "late"
        case State.UNSENT:
            return "broker-refuses"
        case State.SILENT:
            return _RUNBOOKS[verdict.hop or Hop.QUEUE]
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A target that somebody is told of. before: what they were told last, for `lasted` seconds."""

    kind: str
    target: str
    state: State
    before: State
    lasted: float
    hop: str
    why: str
    runbook: str

    @classmethod
    def of(cls, target: Seen, verdict: Verdict, before: State, lasted: float) -> "Alarm":
        hop = str(verdict.hop or "")
        return cls(
            str(target.kind),
            target.name,
            verdict.state,
            before,
            lasted,
            hop,
            f"{verdict.why}.",
            runbook(verdict),
        )

    @property
    def subject(self) -> str:
        return f"{self.target} is {'well again' if self.state == State.OK else self.state}"

    def text(self, runbooks: str) -> str:
        """Some sentences; `runbooks` is the address of their pages, or empty."""
        if self.state == State.OK:
            return f"{self.why} It was {self.before} for {seconds(self.lasted)}."
        return f"{self.why} Runbook: {self.where(runbooks)}"

    def where(self, runbooks: str) -> str:
        """The address of its runbook, or its file in the project."""
        if not self.runbook:
            return ""
        if runbooks:
            return f"{runbooks.rstrip('/')}/{self.runbook}/"
        return f"docs/runbooks/{self.runbook}.md"

    def document(self, runbooks: str) -> dict[str, Any]:
        """For machines."""
        return {
            "kind": self.kind,
            "target": self.target,
            "state": str(self.state),
            "before": str(self.before),
            "lasted": round(self.lasted),
            "hop": self.hop or None,
            "why": self.why,
            "runbook": self.where(runbooks) or None,
        }


def subject(alarms: list[Alarm]) -> str:
    """One line for several; what fails comes first."""
    first = min(alarms, key=lambda each: each.state == State.OK)
    more = f", and {len(alarms) - 1} more" if len(alarms) > 1 else ""
    return f"{first.subject}{more}"
