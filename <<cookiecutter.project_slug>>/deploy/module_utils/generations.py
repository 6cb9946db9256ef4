"""Generations of programs under supervisord: one group for each deploy, `generation-DEPLOY`.

Imported by the module `supervisor_generation`, and run on each host as the program `collector`,
which ends what drains past its limit. The standard library alone: both run under the system's
Python.

A generation's file is in one of two folders. What stands in `conf.d/` starts with supervisord, also
after a reboot. What stands in `draining/` was told to stop; the file's time of change is when.

Supervisor's ways, each found by doing: a group that is stopping can be neither started, added nor
removed, and a bare `update` aborts beside it; so generations never share a name, and nothing here
calls `update`.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import sys
import time
import xmlrpc.client
from collections.abc import Collection
from configparser import Error as UnreadableFile
from configparser import RawConfigParser
from pathlib import Path
from typing import Any, NoReturn

Generations = dict[str, dict[str, dict[str, Any]]]

PREFIX = "generation-"
# Seconds before supervisor's KILL in which a worker may still give its messages back: QUIT.
LAST_CHANCE = 20
# Seconds between two looks.
PAUSE = 0.5

UP = "RUNNING"
DOWN = {"STOPPED", "EXITED", "FATAL"}
# Supervisor tries to start it again, or has given up.
BROKEN = {"BACKOFF", "EXITED", "FATAL"}
ENDABLE = {UP, "STARTING", "BACKOFF"}
# https://supervisord.org/api.html
ALREADY_ADDED, BAD_NAME = 90, 10


class Failed(Exception):  # noqa: N818 - reads as what happened
    """What could not be done; the text is for whoever deploys."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> _Connection:
        # A new one each time: supervisor's side stays broken after one refusal.
        return _Connection(self.path)


class Supervisor:
    """One supervisord, spoken to over its unix socket.

    configuration: the folder in which `conf.d/` and `draining/` lie.
    """

    def __init__(self, path: str, configuration: str) -> None:
        self.path = path
        self.running = Path(configuration) / "conf.d"
        self.draining = Path(configuration) / "draining"
        server = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(path))
        self.api = server.supervisor

    def call(self, method: str, *arguments: Any) -> Any:
        """One call. Raises Failed where supervisord does not answer; a refusal is a Fault."""
        try:
            return getattr(self.api, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(
                f"supervisord does not answer on {self.path} ({type(error).__name__}: {error})."
                " Is its service running?"
            ) from error

    def generations(self) -> Generations:
        """Deploy id to program to what supervisor knows of it: state, pid, since, description."""
        found: Generations = {}
        for info in self.call("getAllProcessInfo"):
            if info["group"].startswith(PREFIX):
                deploy = info["group"].removeprefix(PREFIX)
                found.setdefault(deploy, {})[info["name"]] = {
                    "state": info["statename"],
                    "pid": info["pid"],
                    "since": info["start"],
                    "description": info["description"] or info["spawnerr"],
                }
        return found

    def programs(self, deploy: str) -> dict[str, dict[str, Any]]:
        return self.generations().get(deploy, {})

    # --- Start -----------------------------------------------------------------------------------

    def declare(self, deploy: str, text: str, group: str) -> None:
        """Write `conf.d/DEPLOY.conf`, readable for a group; supervisord never sees half of it."""
        file = self.running / f"{deploy}.conf"
        part = file.with_suffix(".part")
        part.touch(mode=0o640)
        part.write_text(text, encoding="utf-8")
        shutil.chown(part, group=group)
        part.chmod(0o640)
        part.replace(file)

    def start(self, deploy: str, timeout: float) -> bool:
        """Add the generation of `conf.d/DEPLOY.conf`; return once each program runs.

        Raises Failed, with the end of its log, for a program that does not within `timeout`
        seconds. True if anything was done.
        """
        changed = self.add(PREFIX + deploy)
        deadline = time.monotonic() + timeout
        while True:
            programs = self.programs(deploy)
            waiting = {name: each for name, each in programs.items() if each["state"] != UP}
            if programs and not waiting:
                return changed
            broken = sorted(name for name in waiting if waiting[name]["state"] in BROKEN)
            if broken or time.monotonic() > deadline:
                name = broken[0] if broken else min(waiting)
                raise Failed(self._why(deploy, name, waiting[name], timeout))
            time.sleep(PAUSE)

    def keep(self, program: str, *, restart: bool) -> bool:
        """Let a program of its own run; end it first with `restart`. True if anything was done."""
        if restart:
            with contextlib.suppress(xmlrpc.client.Fault):  # it is not there yet
                self.call("stopProcess", program, True)  # noqa: FBT003 - a positional protocol
                self.call("removeProcessGroup", program)
        return self.add(program)

    def add(self, group: str) -> bool:
        """Read the configuration again, and add one group alone. True if it was not there."""
        try:
            self.call("reloadConfig")
            self.call("addProcessGroup", group)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == ALREADY_ADDED:
                return False
            if fault.faultCode == BAD_NAME:
                raise Failed(f"No file in {self.running} declares {group}.") from fault
            raise Failed(f"supervisord refuses {group}: {fault.faultString}") from fault
        return True

    def _why(self, deploy: str, name: str, program: dict[str, Any], timeout: float) -> str:
        said = ""
        with contextlib.suppress(xmlrpc.client.Fault, Failed):
            said = self.call("readProcessStdoutLog", f"{PREFIX}{deploy}:{name}", -2000, 0)
        state = f"{program['state']} {program['description']}".strip()
        return f"{name} does not run after {timeout} s at most: {state}. Its log ends:\n{said}"

    # --- Drain -----------------------------------------------------------------------------------

    def drain(self, deploy: str, keep: Collection[str] = ()) -> bool:
        """Tell a generation to stop, and return at once: it finishes what it holds.

        From here on it does not come back after a reboot. keep: programs that go on running. True
        if anything was done.
        """
        running, draining = self.running / f"{deploy}.conf", self.draining / f"{deploy}.conf"
        moved = running.exists()
        if moved:
            self.draining.mkdir(exist_ok=True)
            running.rename(draining)
        stopping = [
            name
            for name, program in self.programs(deploy).items()
            if name not in keep and program["state"] in ENDABLE
        ]
        if (moved or stopping) and draining.exists():
            os.utime(draining)  # the limits count from here
        for name in stopping:
            with contextlib.suppress(xmlrpc.client.Fault):  # it has just ended by itself
                self.call("stopProcess", f"{PREFIX}{deploy}:{name}", False)  # noqa: FBT003
        return moved or bool(stopping)

    def collect(self) -> list[str]:
        """Remove each generation in `draining/` that has ended. Returns their deploy ids."""
        generations = self.generations()
        collected = []
        for file in self._draining_files():
            programs = generations.get(file.stem, {})
            if all(program["state"] in DOWN for program in programs.values()):
                if programs and not self._remove(file.stem):
                    continue
                # The collector may not write there; whoever deploys next removes the file.
                with contextlib.suppress(OSError):
                    file.unlink()
                if programs:
                    collected.append(file.stem)
        return collected

    def _remove(self, deploy: str) -> bool:
        try:
            self.call("removeProcessGroup", PREFIX + deploy)
        except xmlrpc.client.Fault as fault:
            return fault.faultCode == BAD_NAME  # somebody else was quicker
        return True

    def overdue(self, now: float) -> list[tuple[str, str, int]]:
        """Workers whose KILL is near: (deploy, program, pid) of each that still stops.

        Supervisor's own TERM came when the drain began, and its KILL comes after `stopwaitsecs`.
        """
        generations = self.generations()
        found = []
        for file in self._draining_files():
            limits = stop_waits(file)
            began = file.stat().st_mtime
            for name, program in generations.get(file.stem, {}).items():
                if program["state"] != "STOPPING" or not name.startswith("worker-"):
                    continue
                if name in limits and now - began > limits[name] - LAST_CHANCE:
                    found.append((file.stem, name, program["pid"]))
        return found

    def _draining_files(self) -> list[Path]:
        return sorted(self.draining.glob("*.conf")) if self.draining.is_dir() else []


def stop_waits(file: Path) -> dict[str, int]:
    """Program to `stopwaitsecs`, of a generation's file; empty if it cannot be read."""
    parser = RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, UnreadableFile):
        return {}
    return {
        section.removeprefix("program:"): parser.getint(section, "stopwaitsecs", fallback=10)
        for section in parser.sections()
        if section.startswith("program:")
    }


def collector(path: str, configuration: str) -> NoReturn:
    """Collect what has ended, and send QUIT to what is about to be killed; until it is stopped.

    QUIT is Celery's cold shutdown: it gives the messages that it holds back to the broker, which
    after a KILL return an hour later. Once a process.
    """
    told: set[tuple[str, str, int]] = set()
    while True:
        supervisor = Supervisor(path, configuration)
        try:
            for deploy in supervisor.collect():
                say(f"collected {deploy}")
            for deploy, name, pid in supervisor.overdue(time.time()):
                if (deploy, name, pid) not in told:
                    told.add((deploy, name, pid))
                    say(f"QUIT to {name} (process {pid}), which drains past its limit")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGQUIT)
        except (Failed, xmlrpc.client.Fault, OSError) as error:
            say(str(error))
        time.sleep(5)


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    collector(*sys.argv[1:])
