"""`make benchmark B=witnesses`: the faults of the probes' tests, seen by others at the same moment.

Runs `reliable/tests/test_probes_faults.py` with `inspect ping` and the view of django-health-check
beside it, and prints who saw what. It takes a quarter of an hour.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# 4.9 and later need Python 3.14.
PACKAGES = ("django-health-check<4.9",)
_OTHERS = ("inspect ping", "django-health-check")


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "said"
        os.environ["WITNESSES"] = str(file)
        tests = ["reliable/tests/test_probes_faults.py", "-k", _letters()]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "chaos", *tests]
        status = subprocess.run(command, check=False).returncode
        show([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
        return status


def _letters() -> str:
    return " or ".join(f"test_{letter}_" for letter in "bcdefghijklmprvz")


def show(said: list[dict[str, str | bool]]) -> None:
    """A row a fault; what was said of a healthy system stands apart."""
    well = [each for each in said if each["case"] == "all is well"]
    for name in _OTHERS:
        print(f"{name}: {sum(bool(each[name]) for each in well)} of {len(well)} false alarms")
    first: dict[str, dict[str, str | bool]] = {}
    for each in said:
        if found := re.match(r"test_([a-z])_(\w+)(?:\[(\w+)\])?", str(each["case"])):
            first.setdefault(" ".join(filter(None, found.groups())), each)
    print("| fault | " + " | ".join(_OTHERS) + " |")
    for case, each in sorted(first.items()):
        marks = ("seen" if each[name] else "-" for name in _OTHERS)
        print(f"| {case.replace('_', ' ')} | " + " | ".join(marks) + " |")
    for name in _OTHERS:
        print(f"{name}: saw {sum(bool(each[name]) for each in first.values())} of {len(first)}")


if __name__ == "__main__":
    if "--inside" in sys.argv:
        sys.exit(main())
    from project import run

    sys.exit(run(Path(__file__), "--inside", packages=PACKAGES))
