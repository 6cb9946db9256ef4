"""`make benchmark B=checks`: what our checks add to `manage.py check`.

Each round starts it with and without them, in turns, so that both meet the same noise. Each is a
process of its own: what the checks import, and the tasks that they load, count too. The figure is
the median of the differences.
"""

import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROUNDS = 30
BAR = 200.0


def main() -> None:
    from project import end_once

    end_once()
    os.environ.update({"ENV_FILE": os.devnull, "DEBUG": "True", "SECRET_KEY": uuid.uuid4().hex * 2})
    kinds = ("with", "without")
    for kind in kinds:
        milliseconds(kind)  # writes bytecode
    measured: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(ROUNDS):
        for kind in sorted(kinds, reverse=bool(number % 2)):
            measured[kind].append(milliseconds(kind))
    for kind, values in measured.items():
        print(f"{kind:<8} {statistics.median(values):6.0f} ms for manage.py check")
    pairs = zip(measured["with"], measured["without"], strict=True)
    added = statistics.median(ours - theirs for ours, theirs in pairs)
    print(f"added    {added:6.0f} ms, bar {BAR:.0f} ms: {'met' if added <= BAR else 'MISSED'}")
    sys.exit(added > BAR)


def milliseconds(kind: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, __file__, f"--{kind}"], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def check(*, ours: bool) -> None:
    """Run `manage.py check`, if not `ours` without what `reliable` registers."""
    from types import ModuleType

    import django
    from django.core.checks.registry import registry
    from django.core.management import execute_from_command_line

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    name = "reliable.checks.registration"
    if not ours:
        nothing = ModuleType(name)
        nothing.connect = lambda: None  # type: ignore[attr-defined]
        sys.modules[name] = nothing
    django.setup()
    listed = registry.registered_checks
    registered = [each for each in listed if "reliable" in getattr(each, "tags", ())]
    if not ours:
        listed.difference_update(registered)
    elif not registered:
        sys.exit("error: no check has the tag `reliable`: nothing to measure.")
    execute_from_command_line(["manage.py", "check"])


if __name__ == "__main__":
    if "--inside" in sys.argv:
        main()
    elif sys.argv[1:]:
        check(ours="--with" in sys.argv)
    else:
        from project import run

        sys.exit(run(Path(__file__), "--inside"))
