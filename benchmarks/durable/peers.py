"""Tasks a second beside libraries that keep their tasks in PostgreSQL, two processes each."""

from durable.contest import compete
from durable.contestants import Kind, django_tasks, durable, procrastinate
from durable.figures import Figure, say
from durable.stage import Stage

KINDS: dict[Kind, str] = {
    "effect": "a task with one INSERT",
    "noop": "a task that does nothing",
}


def measure(stage: Stage) -> list[Figure]:
    figures = []
    for kind, what in KINDS.items():
        ours = durable(stage, kind)
        peers = {
            "procrastinate": procrastinate(kind),
            "django-tasks' database": django_tasks(kind),
        }
        compete(stage, [ours, *peers.values()], stage.sizes.tasks, stage.sizes.rounds)
        for name, theirs in peers.items():
            say(f"  {kind}: CPU {ours.cpu / theirs.cpu:.2f} of {name}")
            figures.append(
                Figure(f"{what}, tasks a second", name, ours.rate / theirs.rate, 1.0, at_least=True)
            )
    return figures
