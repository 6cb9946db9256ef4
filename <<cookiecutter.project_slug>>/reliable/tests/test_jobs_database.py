"""What durable tasks promise when PostgreSQL restarts, is away, or has its clock stepped.

`AWAY=30` keeps it away for so many seconds.
"""

import contextlib
import functools
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
from django.db import connection

from reliable.development.servers import not_as_root
from reliable.jobs.worker import BEAT
from reliable.testing.effects import Effects, seconds_until
from reliable.testing.jobs import effect, effect_at, work_until
from reliable.testing.processes import Process, end_all
from reliable.testing.system import System
from reliable.testing.waiting import let_pass, wait_until

# Debian: `apt-get install pgbouncer`.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

AWAY = float(os.environ.get("AWAY", "3"))

# Debian: `apt-get install faketime`.
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


def shut_down_fast(postgresql: Process) -> None:
    os.kill(postgresql.pid, signal.SIGINT)
    postgresql.wait()


def kill_all(postgresql: Process) -> None:
    """Kill it with its children, as the end of its host would."""
    children = postgresql.children()
    postgresql.kill()
    end_all(children)  # some end by themselves when they find it dead
    postgresql.wait()


def start(system: System) -> None:
    system.servers.processes["postgresql"].start()
    system.servers.wait_for("postgresql")
    connection.close()  # this process's: it broke as well


@pytest.mark.chaos
@pytest.mark.own_servers
def test_a_restart_of_the_database_loses_nothing_and_charges_no_other_job(
    system: System, effects: Effects
) -> None:
    relay = system.relay()
    busy = system.worker(release="a", concurrency=1)
    # A colleague that works outside of the database: nobody else has this job's worker.
    long = work_until.delay("long", "released")
    wait_until(lambda: system.events.of("start") == ["long"], "the start of the long job")
    hasty = system.worker(release="b", concurrency=2)
    names: set[str] = set()
    happens = {
        "a fast shutdown": (shut_down_fast, 0.0),
        "a kill": (kill_all, 0.0),
        "an absence": (shut_down_fast, AWAY),
    }
    for times, (what, (end, away)) in enumerate(happens.items(), start=1):
        done = effects.count()
        for name in [f"{what} {number}" for number in range(150)]:
            effect.delay(name, 0.01)
            names.add(name)
        effects.wait_for_more("effect", 10, than=done)
        end(system.servers.processes["postgresql"])
        gone = time.monotonic()
        let_pass(away, since=gone)
        start(system)
        back = time.monotonic()
        done = min(effects.count(), len(names) - 1)  # all may be done by now
        moving = seconds_until(functools.partial(effects.more_than, done), "progress", since=back)
        wait_until(lambda: effects.states.get("succeeded") == len(names), "the end", timeout=60)
        ended = time.monotonic() - back
        print(
            f"after {what} the first job ended within {moving:.1f} s, the last within {ended:.1f} s"
        )
        assert ended < 30
        for worker in (busy, hasty):
            worker.wait_for_output("worker.beats_again", count=times)
        for said in ("relay.database_lost", "relay.database_back"):
            relay.wait_for_output(said, count=times)
    system.events.record("released", "")
    effects.wait_for_end()
    effects.assert_once(names)
    assert effects.states == {"succeeded": len(names) + 1}
    assert system.events.of("start").count("long") == 1
    assert effects.attempts(long.id) == []
    assert all(process.alive for process in (relay, busy, hasty))


@pytest.mark.chaos
@pytest.mark.own_servers
@pytest.mark.skipif(
    not FAKETIME and "CI" not in os.environ, reason="needs libfaketime: apt-get install faketime"
)
def test_a_step_of_the_databases_clock_reaps_no_healthy_job(
    system: System, effects: Effects
) -> None:
    offset = system.directory / "offset"
    offset.write_text("+0\n")
    postgresql = system.servers.processes["postgresql"]
    shut_down_fast(postgresql)
    postgresql.environment |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    start(system)
    effects.buy("long", "held")
    system.relay()
    system.worker(release="a", concurrency=1)
    long = effect_at.delay("long", "released")
    wait_until(lambda: system.events.of("start") == ["long"], "the start of the long job")
    doomed = system.worker(release="b", concurrency=2)
    held = effect_at.delay("held", "released")
    wait_until(lambda: len(system.events.of("start")) == 2, "the start of the other")

    def beats() -> int:
        [(beat,)] = effects.ask("SELECT max(beat) FROM reliable_worker WHERE name LIKE '%-a@%'")
        return int(beat)

    def step(by: int) -> None:
        before = effects.now()
        offset.write_text(f"{by:+}\n")
        assert abs(effects.now() - before) > 3000
        # As long as the reaper needs for three looks.
        beaten = beats()
        wait_until(lambda: beats() >= beaten + 4, "four beats")
        effect.delay(f"after {by}")
        wait_until(lambda: f"after {by}" in effects.names, "a new job")
        assert effects.attempts(long.id) == effects.attempts(held.id) == []

    step(3600)
    step(-3600)
    children = doomed.children()  # a dead process has none
    doomed.kill()
    end_all(children)
    noticed = effects.noticed(held.id, since=time.monotonic())
    print(f"after the step back a worker's loss was noticed after {noticed:.1f} s")
    assert noticed < 20
    system.events.record("released", "")
    effects.wait_for_end()
    effects.assert_once({"long", "held", "after 3600", "after -3600"})
    assert effects.attempts(long.id) == []


def test_what_could_not_write_its_end_runs_again_within_two_beats(
    system: System, effects: Effects
) -> None:
    effects.buy("cut off")
    system.relay()
    network = system.database_proxy()
    worker = system.worker(concurrency=1)
    job = effect_at.delay("cut off", "released")
    wait_until(lambda: system.events.of("start") == ["cut off"], "its start")
    network.refuse()
    system.events.record("released", "")
    # Neither its success nor its failure could be written.
    worker.wait_for_output("job.end_not_recorded")
    assert effects.of_job(job.id, "state") == ("running",)
    network.accept()
    noticed = effects.noticed(job.id, since=time.monotonic())
    effects.wait_for_end()
    print(f"a job that could not write its end waited again {noticed:.1f} s after it could")
    assert noticed < 2 * BEAT + 1
    assert effects.attempts(job.id) == [("not recorded", True)]
    effects.assert_once({"cut off"})


@pytest.mark.skipif(
    not PGBOUNCER and "CI" not in os.environ, reason="needs PgBouncer: apt-get install pgbouncer"
)
def test_a_relay_behind_a_pooler_in_transaction_mode_says_that_it_is_deaf_and_polls(
    system: System, effects: Effects
) -> None:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = system.directory / "pgbouncer.ini"
    configuration.write_text(
        f"""
        [databases]
        * = host={system.servers.postgresql.sockets} user=app
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 5
        ignore_startup_parameters = options, extra_float_digits
        """
    )
    command = [*not_as_root(), str(PGBOUNCER), str(configuration)]
    pooler = system.run("pgbouncer", command)
    pooler.wait_for_output("process up")
    system.environment |= {
        "DATABASE_URL": f"postgresql://app@127.0.0.1:{port}/{system.database}",
        "DATABASE_POOLED": "True",
    }
    relay = system.relay()
    worker = system.worker(concurrency=2)
    names = {f"job {number}" for number in range(100)}
    for name in sorted(names):
        effect.delay(name, 0.01)
    effects.wait_for_more("effect", than=0)
    for child in worker.children():
        child.kill()
    effects.wait_for_end()
    # Its session serves others too: it is not noted, so that the loss of the job ends none.
    running = work_until.delay("running", "released")
    wait_until(lambda: running.state == "running", "its start")
    assert effects.of_job(running.id, "backend") == (None,)
    system.events.record("released", "")
    relay.wait_for_output("relay.deaf")
    began = time.monotonic()
    effect.delay("polled").wait(15)
    print(f"a job behind the pooler ended after {time.monotonic() - began:.1f} s")
    effects.assert_once(names | {"polled"})
    assert worker.alive
    assert "does not exist" not in relay.output + worker.output  # a prepared statement
