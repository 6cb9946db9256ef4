"""`make benchmark`: the waits of a developer's day, measured on a newly generated project.

Each figure is seconds or megabytes of this machine in this run, beside the bar that the project
sets itself for 2 cores and a warm package cache. Figures of shared machines move; look at the worst
of several runs before you believe one.
"""

import re
import shutil
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from project import ROOT, generate

BUILD = ROOT / "build" / "benchmark"
PROJECT = BUILD / "my_shop"
ROUNDS = 3
DEADLINE = 120.0


class Watched:
    """A command whose lines are kept, with the time of each."""

    def __init__(self, *command: str, directory: Path) -> None:
        self.started = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def seconds_until(self, text: str, *, count: int = 1, since: float | None = None) -> float:
        """Seconds from `since`, or the start, to the line that holds `text` for the nth time."""
        begin = self.started if since is None else since
        while True:
            seen = [moment for moment, line in list(self.lines) if re.search(text, line)]
            if len(seen) >= count:
                return seen[count - 1] - begin
            if self.process.poll() is not None or time.monotonic() > begin + DEADLINE:
                raise SystemExit(f"no {text!r} in:\n" + "\n".join(line for _, line in self.lines))
            time.sleep(0.01)

    def count(self, text: str) -> int:
        return sum(1 for _, line in list(self.lines) if re.search(text, line))

    def stop(self) -> float:
        """Seconds from TERM to the end."""
        begin = time.monotonic()
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        return time.monotonic() - begin

    def proportional_memory(self) -> float:
        """Megabytes of the process and all below it, shared pages divided among their users."""
        top = psutil.Process(self.process.pid)
        every = [top, *top.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in every) / 1e6

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append((time.monotonic(), line.rstrip()))


def main() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.rmtree(ROOT / "build" / "demo", ignore_errors=True)
    report("generate the default project", [bake() for _ in range(ROUNDS)], 2, "s")

    demo = Watched("make", "demo", directory=ROOT)
    report("make demo, to the first shipped order", [demo.seconds_until("shipped after")], 60, "s")
    demo.seconds_until("Ctrl-C ends")
    report("make demo, to its end after TERM", [demo.stop()], None, "s")

    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.move(ROOT / "build" / "demo", BUILD)
    starts, memory, web, workers, stops = [], [], [], [], []
    for round_ in range(ROUNDS):
        dev = Watched("make", "dev", directory=PROJECT)
        starts.append(dev.seconds_until("the site is at"))
        address = re.search(r"the site is at (\S+)", dev.lines[-1][1])
        memory.append(dev.proportional_memory())
        page = (address[1] if address else "") + f"page-{round_}/"
        ready = dev.count(r" ready\.$")
        saved = save_a_page(f"page-{round_}/")
        web.append(seconds_until(partial(answers, page), since=saved))
        workers.append(dev.seconds_until(r" ready\.$", count=ready + 4, since=saved))
        stops.append(dev.stop())
    report("make dev, to ready", starts, 10, "s")
    report("make dev, memory (PSS)", memory, 800, "MB")
    report("a save, to the new page", web, 3, "s")
    report("a save, to the last of four workers", workers, 3, "s")
    report("make dev, to its end after TERM", stops, None, "s")

    for target, bar in (("test", 60), ("test-all", 180)):
        begin = time.monotonic()
        subprocess.run(["make", target], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        report(f"make {target}", [time.monotonic() - begin], bar, "s")


def report(what: str, values: list[float], bar: float | None, unit: str) -> None:
    median, worst = statistics.median(values), max(values)
    verdict = "" if bar is None else f"  bar {bar:g} {unit}: {'met' if worst <= bar else 'MISSED'}"
    print(f"{what:<40} {median:7.1f} {unit:<2}  worst {worst:7.1f}{verdict}", flush=True)


def bake() -> float:
    shutil.rmtree(BUILD, ignore_errors=True)
    begin = time.monotonic()
    generate(BUILD)
    return time.monotonic() - begin


def save_a_page(path: str) -> float:
    """Add a page to the project, and return the moment of the save."""
    with (PROJECT / "config" / "urls.py").open("a", encoding="utf-8") as urls:
        urls.write(
            "\nfrom django.http import HttpResponse\n"
            f'urlpatterns.append(path("{path}", lambda request: HttpResponse("here")))\n'
        )
    return time.monotonic()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def seconds_until(condition: Callable[[], bool], *, since: float) -> float:
    while not condition():
        if time.monotonic() > since + DEADLINE:
            raise SystemExit("the saved page never came")
        time.sleep(0.01)
    return time.monotonic() - since


if __name__ == "__main__":
    main()
