"""What a task leaves of its database connection is nothing to the next one in its process."""

from reliable.testing.effects import Effects
from reliable.testing.system import System
from reliable.testing.tasks import add_effect, leave_a_block_open
from reliable.testing.waiting import wait_until


def test_what_follows_a_task_that_a_time_limit_ended_within_a_block_is_committed(
    system: System, effects: Effects
) -> None:
    worker = system.worker(concurrency=1)
    leave_a_block_open.delay("lost")
    for number in range(2):
        add_effect.delay(f"task {number}")
    wait_until(lambda: len(system.events.of("end")) == 2, "the tasks")
    assert effects.names == ["task 0", "task 1"]
    worker.wait_for_output("SoftTimeLimitExceeded")


def test_a_worker_keeps_its_connection_from_task_to_task(system: System, effects: Effects) -> None:
    system.worker(concurrency=1)
    for number in range(3):
        add_effect.delay(f"task {number}")
    wait_until(lambda: len(system.events.of("end")) == 3, "the tasks")
    assert len(set(system.events.of("session"))) == 1
