"""`make matrix`: a generated project's tests on each Python found here, and on the next Django.

On the Python that runs this, all of them; on the others, the team's. `make system` runs the ones
that meet servers on the system's own PostgreSQL and Redis instead, which are older than the ones in
the wheels.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "matrix"

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
NEXT_DJANGO = "django>=6.1,<6.2"
NEXT_DJANGO_NEEDS = "3.12"
# The team's tests, and those of the task API, which Django has itself since 6.0.
ON_NEXT_DJANGO = (
    "tests",
    "shop",
    "reliable/tests/test_jobs_django_tasks.py",
    "reliable/tests/test_jobs_django_results.py",
)
ON_SYSTEM_SERVERS = " ".join(
    [
        "--servers=system -m '' shop",
        *(
            f"reliable/tests/test_{name}.py"
            for name in (
                "harness",
                "workers",
                "jobs_enqueue",
                "jobs_refused",
                "jobs_unique",
                "jobs_atomic",
                "jobs_body",
                "jobs_queries",
                "jobs_command_looking",
                "jobs_command_changing",
                "jobs_command_queues",
                "jobs_inflight",
                "jobs_broker",
                "jobs_database",
                "jobs_processes",
            )
        ),
    ]
)


def main() -> int:
    """Return the exit status: 1 if any run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system-servers", action="store_true")
    arguments = parser.parse_args()
    # An exception, so that what runs is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(BUILD, ignore_errors=True)
    if arguments.system_servers:
        results = {"system servers": on_system_servers()}
    else:
        found = pythons()
        results = {
            f"Python {version}": on_python(version, python) for version, python in found.items()
        }
        newest = max(found, key=VERSIONS.index)
        if VERSIONS.index(newest) < VERSIONS.index(NEXT_DJANGO_NEEDS):
            print(f"Django 6.1: not run, it needs Python {NEXT_DJANGO_NEEDS} and here is {newest}")
        else:
            results["Django 6.1"] = on_next_django(found[newest])
    for name, passed in results.items():
        print(f"{name}: {'passed' if passed else 'FAILED'}")
    return 0 if all(results.values()) else 1


def pythons() -> dict[str, str]:
    """Version to interpreter, from the PATH and from pyenv."""
    # pyenv's folder, by its usual place and as the neighbours of the Python that runs this.
    folders = {Path.home() / ".pyenv" / "versions", Path(sys.base_prefix).parent}
    found = {}
    for version in VERSIONS:
        candidates = [
            shutil.which(f"python{version}"),
            *(str(path) for each in folders for path in each.glob(f"{version}.*/bin/python")),
        ]
        for candidate in filter(None, candidates):
            # A pyenv shim stands on the PATH for versions that it does not run.
            answer = subprocess.run(
                [candidate, "--version"], check=False, capture_output=True, text=True
            )
            if re.match(rf"Python {re.escape(version)}\.", answer.stdout):
                found[version] = candidate
                break
        else:
            print(f"Python {version}: not found here")
    return found


def on_python(version: str, python: str) -> bool:
    """Whether the team's tests pass on an interpreter; on the one that runs this, all."""
    project = generate(f"python-{version}")
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    targets = ["test-all", "browser", "chaos"] if version == this else ["test"]
    return make(project, *targets, f"PYTHON={python}")


def on_next_django(newest: str) -> bool:
    """Whether they pass on the Django that comes after the one that the project pins."""
    project = generate("next-django")
    python = project / ".venv" / "bin" / "python"
    return (
        make(project, "install", f"PYTHON={newest}")
        and run(project, "uv", "pip", "install", "--quiet", "--python", str(python), NEXT_DJANGO)
        # Its MAILERS replace EMAIL_HOST and the like, which are all that 5.2 knows.
        and run(project, str(python), "-m", "pytest", "-W", "ignore:The EMAIL_", *ON_NEXT_DJANGO)
    )


def on_system_servers() -> bool:
    """Whether they pass on the PostgreSQL and Redis of the system."""
    project = generate("system-servers")
    return make(project, "test-all", f"T={ON_SYSTEM_SERVERS}", f"PYTHON={sys.executable}")


def generate(name: str) -> Path:
    output = BUILD / name
    output.mkdir(parents=True)
    project = cookiecutter(str(ROOT), no_input=True, output_dir=str(output), default_config=True)
    return Path(project)


def make(project: Path, *arguments: str) -> bool:
    return run(project, "make", "--no-print-directory", *arguments)


def run(project: Path, *command: str) -> bool:
    print(f"{project.parent.name}: {' '.join(command)}", flush=True)
    with subprocess.Popen(command, cwd=project) as process:
        try:
            return process.wait() == 0
        except BaseException:
            process.terminate()
            raise


if __name__ == "__main__":
    sys.exit(main())
