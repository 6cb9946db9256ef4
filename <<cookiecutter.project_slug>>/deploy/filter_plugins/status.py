"""What `make status` shows of the generations on a host."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Generations = Mapping[str, Mapping[str, Mapping[str, Any]]]


def status(
    generations: Generations,
    records: Sequence[Mapping[str, Any]],
    live_release: str,
    tasks: Sequence[str],
) -> list[str]:
    """A line a program: its generation, release, state, since when, and what it runs.

    generations: of one host, as supervisor_generation returns them. records: of deploys on it.
    tasks: the output of `manage.py workers tasks`, of all hosts; a node's own lines are picked.
    """
    releases = {each["deploy"]: each.get("release", "") for each in records}
    running = dict(line.split(": ", 1) for line in tasks if ": " in line)
    lines = []
    for deploy in sorted(generations, reverse=True):
        programs = generations[deploy]
        states = {each["state"] for each in programs.values()}
        if states <= {"STOPPED", "EXITED", "FATAL"}:
            what = "has ended"
        elif "STOPPING" in states:
            what = "finishes what it holds"
        else:
            what = "works"
        release = releases.get(deploy, "an unknown release")
        lines.append(f"{deploy}  release {release}  {what}")
        lines += [
            f"    {name}: {_program(programs[name])}{_tasks(name, running)}"
            for name in sorted(programs)
        ]
    lines.append(f"current release: {live_release or 'none'}")
    return lines


def _program(program: Mapping[str, Any]) -> str:
    if not program["pid"]:
        return str(program["state"])
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(program["since"]))
    return f"{program['state']}, process {program['pid']} since {since}"


def _tasks(name: str, running: Mapping[str, str]) -> str:
    node = name.removeprefix("worker-")
    found = [tasks for each, tasks in running.items() if each.rpartition("@")[0] == node]
    return f"; runs {found[0]}" if name.startswith("worker-") and found else ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"generation_status": status}
