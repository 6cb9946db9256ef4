"""What `make status` shows of the generations on a host."""

import time


def status(generations, records, live_release, tasks):
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
        for name in sorted(programs):
            lines.append(f"    {name}: {_program(programs[name])}{_tasks(name, running)}")
    lines.append(f"current release: {live_release or 'none'}")
    return lines


def _program(program):
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(program["since"]))
    return f"{program['state']}, process {program['pid']} since {since}" if program["pid"] else program["state"]


def _tasks(name, running):
    node = name.removeprefix("worker-")
    found = [tasks for each, tasks in running.items() if each.rpartition("@")[0] == node]
    return f"; runs {found[0]}" if name.startswith("worker-") and found else ""


class FilterModule:
    def filters(self):
        return {"generation_status": status}
