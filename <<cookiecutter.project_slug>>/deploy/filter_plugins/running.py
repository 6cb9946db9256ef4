"""What the module supervisor_generation returned as `generations`, asked in playbooks."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Generations = Mapping[str, Mapping[str, Mapping[str, Any]]]


def running(generations: Generations) -> list[str]:
    """The deploy ids of generations of which a program runs and was not told to stop, sorted."""
    return sorted(
        deploy
        for deploy, programs in generations.items()
        if any(program["state"] in {"RUNNING", "STARTING"} for program in programs.values())
    )


def queues(generations: Generations) -> list[str]:
    """The queues that a worker of these generations reads, sorted."""
    found = set()
    for deploy, programs in generations.items():
        for name, program in programs.items():
            worker = re.fullmatch(f"worker-(.+)-{re.escape(deploy)}", name)
            if worker and program["state"] in {"RUNNING", "STARTING"}:
                found.add(worker[1])
    return sorted(found)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"running_generations": running, "running_queues": queues}
