"""Short tasks in batches beside the same body as a plain task, and beside pgqueuer's batches."""

import asyncio
from functools import partial

from durable import peer_pgqueuer
from durable.contest import Contestant, compete
from durable.contestants import EFFECTS, PROCESSES, counted, durable, plain
from durable.figures import Figure, say
from durable.stage import Stage


def measure(stage: Stage) -> list[Figure]:
    asyncio.run(peer_pgqueuer.install())
    ours, one_by_one, batches = durable(stage, "batched"), plain(stage, "effect"), _pgqueuer()
    compete(stage, [ours, one_by_one, batches], stage.sizes.tasks, stage.sizes.rounds)
    for theirs in one_by_one, batches:
        say(f"  CPU {ours.cpu / theirs.cpu:.2f} of {theirs.name}")
    what = "batches of a task with one INSERT, tasks a second"
    return [
        Figure(what, "a plain task", ours.rate / one_by_one.rate, 8, at_least=True),
        Figure(what, "pgqueuer", ours.rate / batches.rate, 1, at_least=True),
    ]


def _pgqueuer() -> Contestant:
    from reliable.supervisor.programs import Program

    programs = [
        Program(
            name=f"pgqueuer-{number}", module="durable.peer_pgqueuer", arguments=(), stop_wait=30
        )
        for number in range(1, PROCESSES + 1)
    ]
    return Contestant(
        "pgqueuer batches",
        [(program, peer_pgqueuer.READY) for program in programs],
        lambda count: asyncio.run(peer_pgqueuer.enqueue(count)),
        partial(counted, EFFECTS),
        EFFECTS,
    )
