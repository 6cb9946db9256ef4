"""A supervisord as a child process, and the calls that we make to it.

Reference: https://supervisord.org/api.html
"""

import signal
import subprocess
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

_ALIVE = {"STARTING", "RUNNING"}
_GIVEN_UP = {"BACKOFF", "FATAL", "EXITED"}


class Supervisord:
    """One supervisord: started and ended here, or found running; spoken to over its unix socket.

    Programs are named as supervisor does it: `beat`, or `generation-x:web-x` for one of a group.
    """

    def __init__(self, configuration: Path, socket: Path) -> None:
        self.configuration = configuration
        self.process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{socket}"

    def start(self) -> None:
        """Start supervisord in a session of its own: a Ctrl-C shall reach the caller alone."""
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration)]
        self.process = subprocess.Popen(
            command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """End supervisord and with it every program, and wait for that."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()

    def alive(self) -> bool:
        """Whether a supervisord answers, ours or one of another terminal."""
        return self.call("getState") is not None

    def pid(self) -> int | None:
        pid: int | None = self.call("getPID")
        return pid

    def states(self) -> dict[str, str]:
        """Program to state: RUNNING, BACKOFF, FATAL, …"""
        return {
            _full_name(info): info["statename"] for info in self.call("getAllProcessInfo") or []
        }

    def process_id(self, program: str) -> int:
        """The program's process id; 0 while it does not run."""
        return int((self.call("getProcessInfo", program) or {"pid": 0})["pid"])

    def runs(self, program: str) -> bool:
        """Whether the program runs, or is about to."""
        return self.states().get(program) in _ALIVE

    def start_program(self, program: str) -> None:
        """Start a program, and return before it runs."""
        self.call("startProcess", program, False)  # noqa: FBT003 - a positional protocol

    def stop_program(self, program: str, *, wait: bool = True) -> None:
        """Send a program its stop signal; `wait` until it has ended."""
        self.call("stopProcess", program, wait)

    def reload_program(self, program: str) -> None:
        """Send HUP to a running program; start one that has given up, but not one that rests."""
        if self.runs(program):
            self.call("signalProcess", program, "HUP")
        elif self.states().get(program) in _GIVEN_UP:
            self.start_program(program)

    def update(self) -> None:
        """Read the configuration again: start what is new, end what is gone or has changed."""
        [[added, changed, removed]] = self.call("reloadConfig") or [[[], [], []]]
        for group in [*changed, *removed]:
            self.call("stopProcessGroup", group)
            self.call("removeProcessGroup", group)
        for group in [*added, *changed]:
            self.call("addProcessGroup", group)

    def call(self, method: str, *arguments: Any) -> Any:
        """One call; None where no supervisord answers, or where it refuses as it is already so."""
        # A new connection each time: supervisor's transport stays broken after one refusal.
        transport = SupervisorTransport("", "", self.address)
        api = ServerProxy("http://127.0.0.1", transport=transport).supervisor
        try:
            return getattr(api, method)(*arguments)
        except (Fault, HTTPException, OSError):
            return None
        finally:
            transport.close()


def _full_name(info: dict[str, Any]) -> str:
    group, name = info["group"], info["name"]
    return str(name) if group == name else f"{group}:{name}"
