"""Tasks a second of one worker with two processes: durable ones beside plain ones.

The durable ones need a relay too, which shares the same two cores. CPU is steadier than the clock
on a machine that others use.
"""

from durable.contest import compete
from durable.contestants import Kind, durable, plain
from durable.figures import Figure, say
from durable.stage import Stage

BARS: dict[Kind, tuple[str, float]] = {
    "effect": ("a task with one INSERT, tasks a second", 0.9),
    "noop": ("a task that does nothing, tasks a second", 0.75),
}


def measure(stage: Stage) -> list[Figure]:
    contestants = {
        (side.__name__, kind): side(stage, kind) for kind in BARS for side in (plain, durable)
    }
    compete(stage, list(contestants.values()), stage.sizes.tasks, stage.sizes.rounds)
    figures = []
    for kind, (what, bar) in BARS.items():
        theirs, ours = contestants["plain", kind], contestants["durable", kind]
        say(f"  {kind}: CPU {ours.cpu / theirs.cpu:.2f} of a plain task")
        figures.append(Figure(what, "a plain task", ours.rate / theirs.rate, bar, at_least=True))
    return figures
