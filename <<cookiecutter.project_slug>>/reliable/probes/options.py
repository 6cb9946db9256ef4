"""How often is asked and reported, and how long silence is borne.

    RELIABLE_PROBES = {"interval": 15, "report": 5}

What a queue promises stands in `settings.QUEUES`, as `latency`.
"""

from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Upper bounds of the latencies' histogram, in seconds.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds, each.

    interval: between two probes of a target, which is between two ticks of beat. report: between
    two reports of a worker. tick: how old beat's last tick may get. dead: how old a worker's or
    relay's last report may get. forget: after which a worker that fell silent is no longer watched.
    samples: for which latencies are kept. transitions: the same for changes of state.
    """

    interval: float = 15
    report: float = 5
    tick: float = 45
    dead: float = 30
    forget: float = 3600
    samples: float = 48 * 3600
    transitions: float = 90 * 86400

    @property
    def judge(self) -> float:
        """Between two looks at all states, at least."""
        return self.report / 2

    @property
    def gap(self) -> float:
        """After so long without a look, ages count anew. When all workers are dead, beat looks at
        each tick.
        """
        return self.interval + self.report + 2


def options() -> Options:
    """What the settings say. Raises ImproperlyConfigured for what is no option or no number."""
    said: dict[str, Any] = getattr(settings, "RELIABLE_PROBES", {})
    known = [field.name for field in fields(Options)]
    for name, value in said.items():
        if name not in known:
            raise ImproperlyConfigured(
                f"RELIABLE_PROBES: unknown option {name!r}; the options are {', '.join(known)}."
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise ImproperlyConfigured(
                f"RELIABLE_PROBES: {name} is {value!r}; write seconds, for example 15."
            )
    found = Options(**said)
    # Else a database that is away for a moment makes everybody look dead.
    for name, least in (("dead", found.gap + found.report), ("tick", found.gap + found.interval)):
        if getattr(found, name) < least:
            raise ImproperlyConfigured(
                f"RELIABLE_PROBES: {name} is {getattr(found, name):g}; with an interval of"
                f" {found.interval:g} and a report each {found.report:g} s it must be {least:g} or"
                " more."
            )
    return found
