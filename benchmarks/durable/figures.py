"""What is measured, how often, and what comes out."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How often and how much; the defaults are what figures are quoted for."""

    rounds: int = 7
    # Of one process, with one INSERT each.
    transactions: int = 3000
    # Jobs of one `enqueue_many`, beside as many `delay()`.
    bulk: int = 10_000
    commits: int = 300
    # Published by a relay in a round.
    offers: int = 5000
    # Run by a worker in a round, on top of those that warm it up. A child is replaced after 1,000:
    # here each of two is, once, whoever of them is faster.
    tasks: int = 3000
    warm_up: int = 200
    few: int = 1000
    many: int = 1_000_000
    # Batches that are published and claimed of each backlog.
    batches: int = 60


TINY = Sizes(
    rounds=1,
    transactions=40,
    bulk=200,
    commits=5,
    offers=200,
    tasks=60,
    warm_up=20,
    few=1000,
    many=5000,
    batches=4,
)


@dataclass(frozen=True)
class Figure:
    """A row of the table. bar: what it may be at most, or has to be at least."""

    what: str
    beside: str
    value: float
    bar: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def __str__(self) -> str:
        bar = f"{'>=' if self.at_least else '<='} {self.bar:g}"
        verdict = "met" if self.met else "MISSED"
        return f"{self.what:<48} {self.value:7.3f} of {self.beside:<24} bar {bar:<8} {verdict}"


def in_turns(
    contestants: Mapping[str, Callable[[], float]], rounds: Iterable[int]
) -> dict[str, list[float]]:
    """Let each play once a round, in an order that is turned around each time."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in rounds:
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            found[name].append(contestants[name]())
    return found


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in found.items()}


def say(text: str) -> None:
    print(text, flush=True)
