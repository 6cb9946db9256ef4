"""The one renderer of supervisor's configuration, for development and production.

Reference: https://supervisord.org/configuration.html#program-x-section-settings
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reliable.supervisor.programs import Program

HEADER = """\
; Made by `manage.py supervisor` from the declaration of queues: change that, not this file.
;
; stopsignal=TERM     a worker finishes its tasks and gives the rest back; gunicorn its requests
; stopasgroup=false   with true the TERM reaches the pool's children: each running task is lost
; killasgroup=true    a KILL after the stop wait must not leave children that hold connections
; stopwaitsecs        above the queue's hard limit, so that no task is killed by a stop
; autorestart=true    a worker that was killed comes back; its messages return by themselves
; startsecs           who dies sooner did not start, and is FATAL after startretries
; HOME                supervisor's user= sets none, and programs would write into /root
"""


@dataclass(frozen=True)
class Place:
    """Where programs run: the same for all of a file.

    directory: the release. user: the account, where supervisor itself is root; home: its home.
    """

    directory: Path
    log_dir: Path
    home: Path
    user: str | None = None


def group(deploy_id: str) -> str:
    """The name of a deploy's group."""
    return f"generation-{deploy_id}"


def generation(
    deploy_id: str,
    programs: Iterable[Program],
    place: Place,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Programs, and the group that starts, drains and stops those of the generation together."""
    listed = list(programs)
    parts = [section(program, place, extra) for program in listed]
    names = ",".join(program.name for program in listed)
    parts.append(_ini(f"group:{group(deploy_id)}", {"programs": names}))
    return "\n".join(parts)


def section(program: Program, place: Place, extra: Mapping[str, str] | None = None) -> str:
    """One `[program:x]` section; `extra` adds keys or replaces them."""
    environment = {"HOME": str(place.home), "PYTHONUNBUFFERED": "1", **program.environment}
    for value in environment.values():
        if '"' in value:
            raise ValueError(f"supervisor cannot hold {value!r} in an environment: it has a quote.")
    if "%" in str(place.log_dir):
        # Expanded twice, so that one escape does not protect it.
        raise ValueError(f"supervisor cannot write logs to {place.log_dir}: the path has a `%`.")
    keys = {
        "command": shlex.join(program.command),
        "directory": str(place.directory),
        "environment": ",".join(f'{key}="{value}"' for key, value in environment.items()),
        **({"user": place.user} if place.user else {}),
        "autostart": "true",
        "autorestart": "true",
        "startsecs": "3",
        "startretries": "10",
        "stopsignal": "TERM",
        "stopasgroup": "false",
        "killasgroup": "true",
        "stopwaitsecs": str(program.stop_wait),
        "redirect_stderr": "true",
        "stdout_logfile": str(place.log_dir / f"{program.name}.log"),
        **(extra or {}),
    }
    return _ini(f"program:{program.name}", keys)


def daemon(*, socket: Path, log_dir: Path, run_dir: Path) -> str:
    """The sections of supervisord itself, in the foreground of one account, on a private socket."""
    sections: dict[str, dict[str, str]] = {
        "supervisord": {
            "nodaemon": "true",
            "silent": "true",
            "logfile": str(log_dir / "supervisord.log"),
            "pidfile": str(run_dir / "supervisord.pid"),
            "childlogdir": str(log_dir),
        },
        "unix_http_server": {"file": str(socket), "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": ("supervisor.rpcinterface:make_main_rpcinterface"),
        },
        "supervisorctl": {"serverurl": f"unix://{socket}"},
    }
    return "\n".join(_ini(name, keys) for name, keys in sections.items())


def _ini(name: str, keys: Mapping[str, str]) -> str:
    lines = [f"{key}={_escape(value)}" for key, value in keys.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _escape(value: str) -> str:
    # ` ;` and ` #` start comments, and supervisor expands `%(name)s`.
    if any(mark in value for mark in ("\n", "\r", " ;", " #")):
        raise ValueError(f"supervisor cannot hold {value!r}: it has a line break, ` ;` or ` #`.")
    return value.replace("%", "%%")
