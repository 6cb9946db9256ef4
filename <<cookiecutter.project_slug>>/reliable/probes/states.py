"""What is watched, how it is, and which link of the chain failed."""

from django.db.models import TextChoices


class Kind(TextChoices):
    """What a target is."""

    BEAT = "beat"
    RELAY = "relay"
    QUEUE = "queue"
    WORKER = "worker"


#: The target that is well while any relay publishes: one that was stopped is not missed itself.
RELAYS = "relays"


class State(TextChoices):
    """How a target is.

    late: it answers, but later than it promises. silent: it does not answer. unsent: the broker
    does not take the question. unknown: nobody has asked yet, or nobody can.
    """

    OK = "ok"
    LATE = "late"
    SILENT = "silent"
    UNSENT = "unsent"
    PAUSED = "paused"
    UNKNOWN = "unknown"


#: What makes a health endpoint answer 503.
FAILING = frozenset({State.SILENT, State.UNSENT})

#: What somebody is told, by what a target becomes and what it was: {after: {before, …}}.
#: Everything else is noted and logged only. `unknown` follows from something that has its own
#: alarm, or is the beginning; `paused` somebody wanted.
ALARMS: dict[State, set[State]] = {
    State.LATE: {State.OK, State.PAUSED, State.UNKNOWN},
    State.SILENT: set(State) - {State.SILENT},
    State.UNSENT: set(State) - {State.UNSENT},
    State.OK: {State.LATE, State.SILENT, State.UNSENT},
}


class Hop(TextChoices):
    """The link of the chain that failed, in the chain's order.

    queue: nobody reads the list. worker: the process is dead, frozen or stopping. slots: its pool's
    processes are busy, stuck or frozen.
    """

    BEAT = "beat"
    RELAY = "relay"
    BROKER = "broker"
    QUEUE = "queue"
    WORKER = "worker"
    SLOTS = "slots"
