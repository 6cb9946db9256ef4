"""The processes that a deployment consists of: what to run, and how long to wait when it stops."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from reliable.queues import Queue, job_queue

# Seconds between a queue's hard limit, when Celery kills the task, and the moment when supervisor
# kills the worker. A stop wait below the limit loses the running task, or leaves its message
# unacknowledged until the visibility timeout (measured: 11 of 15 tasks stuck for an hour).
STOP_MARGIN = 30

# gunicorn lets requests finish for 30 s (config/gunicorn.py); supervisor waits a little longer.
WEB_STOP_WAIT = 40

BEAT_STOP_WAIT = 10
# A relay ends after its batch.
RELAY_STOP_WAIT = 20


@dataclass(frozen=True)
class Program:
    """One process that supervisor starts, restarts and stops.

    It runs `python -m module *arguments`. `stop_wait` is in seconds; `environment` comes on top of
    supervisor's own and holds no secret, since it can be read in the supervisor file.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    stop_wait: int
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module, *self.arguments]


class SupervisorSettings(TypedDict):
    """What `settings.SUPERVISOR` holds.

    directory: the project. wsgi, web_config, celery_app: import paths, such as `config.wsgi`,
    `config.gunicorn` and `config`. run_dir: sockets. log_dir: a log a program.
    """

    directory: Path
    wsgi: str
    web_config: str
    celery_app: str
    run_dir: Path
    log_dir: Path


@dataclass(frozen=True)
class Layout:
    """What the programs of one deployment have in common.

    deploy_id: names the generation, new at each deploy: supervisor can neither start nor add a
        group that is still stopping, so a name that comes back breaks a rollback during a drain.
    release: the code that runs, in every log line and probe.
    environment: set for each program.
    """

    deploy_id: str
    queues: Mapping[str, Queue]
    settings: SupervisorSettings
    run_dir: Path
    release: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def web_socket(self) -> Path:
        """One a generation: two generations serve side by side until the switch."""
        return self.run_dir / f"web-{self.deploy_id}.sock"

    def web(self, *, binds: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Program:
        """Gunicorn on the generation's unix socket, and on `binds` (host:port) beside it."""
        addresses = (f"unix:{self.web_socket}", *binds)
        bound = [option for address in addresses for option in ("--bind", address)]
        return Program(
            name=f"web-{self.deploy_id}",
            module="gunicorn",
            arguments=(
                "--config",
                f"python:{self.settings['web_config']}",
                *bound,
                *options,
                self.settings["wsgi"],
            ),
            stop_wait=WEB_STOP_WAIT,
            environment=self._environment("web"),
        )

    def worker(
        self, queue: str, *, concurrency: int | None = None, pool: str = "prefork"
    ) -> Program:
        """One queue's worker, named `<queue>-<deploy>@<host>`: old and new stay distinguishable.

        The pool is prefork, since the others cannot kill a task at its time limit.
        """
        declared = self.queues[queue]
        return Program(
            name=f"worker-{queue}-{self.deploy_id}",
            module="celery",
            arguments=(
                *("--app", self.settings["celery_app"], "--quiet"),
                "worker",
                *("--queues", f"{queue},{job_queue(queue)}"),
                *("--hostname", f"{queue}-{self.deploy_id}@%h"),
                *("--pool", pool),
                *("--concurrency", str(concurrency or declared["concurrency"])),
                *("--soft-time-limit", str(declared["soft_time_limit"])),
                *("--time-limit", str(declared["time_limit"])),
                *("--loglevel", "INFO"),
                # Clocks and elections of workers: unused here, and mingle delays a start by 1 s.
                "--without-gossip",
                "--without-mingle",
            ),
            stop_wait=declared["time_limit"] + STOP_MARGIN,
            environment=self._environment(f"worker-{queue}"),
        )

    def workers(self, *, concurrency: Mapping[str, int] | None = None) -> list[Program]:
        """One worker a queue; `concurrency` overrides the declared one by queue."""
        overrides = concurrency or {}
        return [self.worker(queue, concurrency=overrides.get(queue)) for queue in self.queues]

    def relay(self) -> Program:
        """It publishes durable tasks. Of the generation: old and new may run side by side."""
        return Program(
            name=f"relay-{self.deploy_id}",
            module="manage",
            arguments=("relay",),
            stop_wait=RELAY_STOP_WAIT,
            environment=self._environment("relay"),
        )

    def beat(self) -> Program:
        """It ticks the schedule. Of the generation, and on every host: each tick happens once."""
        return Program(
            name=f"beat-{self.deploy_id}",
            module="celery",
            arguments=(
                *("--app", self.settings["celery_app"], "--quiet"),
                "beat",
                # No pid file: one left by a kill would keep beat from starting.
                *("--pidfile", ""),
                *("--loglevel", "INFO"),
            ),
            stop_wait=BEAT_STOP_WAIT,
            environment=self._environment("beat"),
        )

    def _environment(self, process: str) -> dict[str, str]:
        """PROCESS tells the settings what runs: the database's timeouts follow from it."""
        return {
            "PROCESS": process,
            "RELEASE": self.release,
            "DEPLOY_ID": self.deploy_id,
            **self.environment,
        }
