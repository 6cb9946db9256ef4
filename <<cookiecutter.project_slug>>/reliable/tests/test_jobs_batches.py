"""Jobs of a task that share a transaction: what they share, and what stays each one's own."""

import pytest

from reliable.jobs import JobHandle, enqueue_many
from reliable.testing.batched import batched
from reliable.testing.effects import Effects
from reliable.testing.system import System

GOOD = [f"good {number}" for number in range(20)]


def enqueue(*bad: tuple[str, str]) -> dict[str, JobHandle]:
    """Bad ones amid good ones, in one statement."""
    calls = [*[(name,) for name in GOOD[:2]], *bad, *[(name,) for name in GOOD[2:]]]
    return {call[0]: job for call, job in zip(calls, enqueue_many(batched, calls), strict=True)}


POISON = {
    "raises": [("failed", True)] * 2,
    "hangs": [("timed out", True)] * 2,
    "hangs in PostgreSQL": [("timed out", True)] * 2,
    "rolls back": [("failed", True)] * 2,
    "kills": [("child lost", False), ("child lost", True), ("child lost", True)],
    "hangs in C": [("child lost", False), ("timed out", True), ("timed out", True)],
    "breaks the commit": [("rolled back", False), ("failed", True), ("failed", True)],
    "ends the session": [("rolled back", False), ("failed", True), ("failed", True)],
}


@pytest.mark.parametrize("does", POISON)
def test_of_a_batch_with_a_poisonous_member_only_that_fails(
    system: System, effects: Effects, does: str
) -> None:
    effects.ask("CREATE TABLE promise (of text REFERENCES purchase DEFERRABLE INITIALLY DEFERRED)")
    worker = system.worker(concurrency=1)
    jobs = enqueue(("poison", does))
    system.relay()
    effects.wait_for_end()
    assert effects.states == {"succeeded": len(GOOD), "failed": 1}
    effects.assert_once(set(GOOD))
    assert effects.attempts(jobs["poison"].id) == POISON[does]
    charged = effects.ask("SELECT count(*) FROM reliable_job WHERE attempt > 0")
    assert charged == [(1,)]
    assert worker.alive
