"""What the module supervisor_generation returned as `generations`, asked in playbooks."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Generations = Mapping[str, Mapping[str, Mapping[str, Any]]]
# States of a program that was not told to stop.
_RUNNING = {"RUNNING", "STARTING"}


def running(generations: Generations) -> list[str]:
    """The deploy ids of generations of which a program runs and was not told to stop, sorted."""
    return sorted(
        deploy
        for deploy, programs in generations.items()
        if any(program["state"] in _RUNNING for program in programs.values())
    )


def workers(generations: Generations, deploys: Collection[str]) -> list[str]:
    """The queues of the running workers of some of these generations, one for each worker."""
    found = []
    for deploy in deploys:
        for name, program in generations.get(deploy, {}).items():
            worker = re.fullmatch(f"worker-(.+)-{re.escape(deploy)}", name)
            if worker and program["state"] in _RUNNING:
                found.append(worker[1])
    return found


def queues(generations: Generations) -> list[str]:
    """The queues that a worker of these generations reads, sorted."""
    return sorted({*workers(generations, generations)})


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "running_generations": running,
            "running_queues": queues,
            "running_workers": workers,
        }
