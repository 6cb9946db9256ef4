"""A system with probes that hurry, for tests that break it."""

import os
from dataclasses import replace
from typing import Any

from django.db import connection

from reliable.probes.models import Target, Transition
from reliable.queues import read_by_workers
from reliable.testing.processes import Process
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests import witnesses

# Seconds.
INTERVAL = 1.0
WARN, CRITICAL = 2, 5
DEAD = TICK = 5
# Where a machine under load must not look dead.
PATIENT = 15
LIMIT = 12

_SETTINGS = f"""
from dataclasses import replace
from reliable.schedule import every
RELIABLE_PROBES = {{"interval": {INTERVAL}, "report": {INTERVAL / 3}}}
RELIABLE_PROBES |= {{"tick": {PATIENT}, "dead": {PATIENT}}}
SCHEDULE = {{**SCHEDULE, "probe": replace(SCHEDULE["probe"], when=every(seconds={INTERVAL:.0f}))}}
"""
# Promises that are broken soon, and a time limit that the tests can wait for.
_IMPATIENT = f"""
RELIABLE_PROBES |= {{"tick": {TICK}, "dead": {DEAD}}}
QUEUES = {{
    name: {{**queue, "latency": {{"warn": {WARN}, "critical": {CRITICAL}}}}}
    for name, queue in QUEUES.items()
}}
QUEUES["mail"] |= {{"soft_time_limit": {LIMIT - 4}, "time_limit": {LIMIT}}}
"""


class Probed:
    """Workers, beat and what the probes say of them."""

    def __init__(self, system: System, more: str = "", *, impatient: bool = True) -> None:
        self.system = system
        system.settings(_SETTINGS + (_IMPATIENT if impatient else "") + more)
        if witnesses.wanted():
            # They know no list that may be without a worker.
            self.worker("slow", release="rest", reads=["critical", "slow", "default"])

    def worker(
        self,
        queue: str = "mail",
        *,
        release: str = "a",
        reads: list[str] | None = None,
        concurrency: int = 2,
        options: tuple[str, ...] = (),
    ) -> Process:
        """A worker `<queue>-<release>`, of the lists of `reads` if that is given.

        Its time limits are long, so that the probes see what is stuck before Celery kills it.
        """
        program = self.system.layout(release).worker(queue, concurrency=concurrency)
        arguments = list(program.arguments)
        if reads is not None:
            arguments[arguments.index("--queues") + 1] = ",".join(read_by_workers(reads))
        for limit in ("--time-limit", "--soft-time-limit"):
            arguments[arguments.index(limit) + 1] = "600"
        tests = ("--include", "reliable.testing.tasks,reliable.testing.jobs")
        program = replace(program, arguments=(*arguments, *options, *tests))
        process = self.system.start(program)
        process.wait_for_output(" ready.")
        return process

    def wait_until_well(self, *names: str, timeout: float = 30) -> None:
        """Wait until all of these targets are ok."""
        if witnesses.wanted():
            names += ("critical", "slow", "default", "slow-rest")
        wait_until(
            lambda: all(self.state(name) == "ok" for name in names),
            f"answers of {', '.join(names)}",
            timeout=timeout,
            saw=self.states,
        )
        if witnesses.wanted():
            witnesses.ask(self.system, "all is well")

    def state(self, name: str) -> str:
        target = self.target(name)
        return target.state if target else ""

    def target(self, name: str) -> Target | None:
        """A list, beat, or a worker by the part of its name before the `@`."""
        found = Target.objects.filter(name=name, retired_at__isnull=True).first()
        return found or Target.objects.filter(name__startswith=f"{name}@").first()

    def states(self) -> list[Any]:
        return [
            *Target.objects.values_list("kind", "name", "state", "why", "report", "error"),
            *(f"{each.target}: {each} ({each.why})" for each in self.transitions()),
        ]

    def transitions(self) -> list[Transition]:
        return list(Transition.objects.select_related("target").order_by("id"))

    def alarms(self) -> list[str]:
        return [
            f"{each.target}: {each} ({each.hop}: {each.why})"
            for each in self.transitions()
            if each.alarm
        ]

    def now(self) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0]

    def alarm(self, name: str, after: str, since: Any, threshold: float) -> Transition:
        """The target's change to a state, which must come within 2 x interval + threshold."""
        target = wait_until(lambda: self.target(name), f"somebody to watch {name}")
        if target is None:
            raise AssertionError(self.states())
        changes = Transition.objects.filter(target=target, after=after, at__gte=since, alarm=True)
        within = 2 * INTERVAL + threshold
        wait_until(changes.exists, f"{name} to be {after}", timeout=within + 5, saw=self.states)
        change = changes.earliest("id")
        if witnesses.wanted():
            case = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0]
            witnesses.ask(self.system, f"{case} {name}")
        took = (change.at - since).total_seconds()
        print(f"{name}: {after} after {took:.1f} s, {change.hop}: {change.why}")
        if took > within:
            raise AssertionError(f"{name} was {after} after {took:.1f} s, not {within:g} s")
        return change
