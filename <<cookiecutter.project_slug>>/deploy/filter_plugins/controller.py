"""The machine that ansible-playbook runs on: who deploys from it, and whether a deploy lives."""

import getpass
import multiprocessing
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def holder(deploy: str, what: str, who: str = "") -> dict[str, Any]:
    """Who takes a lock for `deploy`, for the module deploy_lock."""
    return {
        "id": deploy,
        "what": what,
        "who": who or getpass.getuser(),
        "where": socket.gethostname(),
        "machine": _machine(),
        "process": _playbook(),
    }


def dead(lock: Mapping[str, Any]) -> bool:
    """Whether the lock's holder was a process of this machine that is no more.

    Of another machine's nothing is known, so that the answer is no.
    """
    if not lock or lock.get("machine") != _machine():
        return False
    return not _runs_ansible(int(lock["process"]))


def _machine() -> str:
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _playbook() -> int:
    """The process of ansible-playbook: filters may run in a worker that it forked."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent and parent.pid else os.getpid()


def _runs_ansible(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return b"ansible" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return True  # no /proc here: a process of that number lives


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"lock_holder": holder, "lock_is_dead": dead}
