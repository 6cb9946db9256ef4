"""Supervisor's file: how long it waits for a worker, whom it signals, who reads a queue."""

import re
import shlex
from collections.abc import Iterator, Mapping
from configparser import Error, RawConfigParser
from pathlib import Path

from reliable.checks.celery_settings import POOLS_WITH_LIMITS
from reliable.checks.findings import Finding

# What supervisor does without the key: https://supervisord.org/configuration.html
_STOP_WAIT = 10.0
_REMAPPED = re.compile(r"""\bREMAP_SIGTERM=["']?SIGQUIT\b""")


def check(
    path: Path, limits: Mapping[str, float], *, declared: bool, soft_shutdown: float = 0
) -> Iterator[Finding]:
    """Findings in the programs that are Celery workers.

    limits: the seconds that a task of each queue may take. declared: whether there are no others.
    soft_shutdown: the seconds after which a stop gives running tasks back; 0 if it never does.
    """
    file = RawConfigParser(strict=False, inline_comment_prefixes=(";",))
    try:
        file.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Error) as error:
        yield Finding("reliable.W130", str(path), f"The supervisor file cannot be read: {error}.")
        return
    for_all = file.get("supervisord", "environment", fallback="")
    consumed: set[str] = set()
    for section in file.sections():
        command = file.get(section, "command", fallback="")
        if not section.startswith("program:") or not re.search(r"celery\b.*\bworker\b", command):
            continue
        options = _options(shlex.split(command))
        names = (options.get("queues") or "celery").split(",")
        consumed |= set(names)
        limit = max(float(options.get("time-limit", 0)), *(limits.get(name, 0) for name in names))
        keys = dict(file.items(section))
        if soft_shutdown:
            signal = keys.get("stopsignal", "TERM").removeprefix("SIG")
            if signal == "QUIT" or _REMAPPED.search(f"{for_all},{keys.get('environment', '')}"):
                limit = soft_shutdown
            else:
                what = f"worker_soft_shutdown_timeout is set, and {section} has no REMAP_SIGTERM."
                yield Finding("reliable.W111", section, what)
        yield from _program(section, keys, options, limit)
        for name in names:
            if declared and name not in limits:
                what = f"{section} reads {name}, which nobody declared."
                yield Finding("reliable.W120", section, what)
    for name in limits:
        if name not in consumed:
            what = f"No program of {path.name} reads the queue {name}."
            yield Finding("reliable.E022", name, what)


def _program(
    section: str,
    keys: Mapping[str, str],
    options: Mapping[str, str],
    limit: float,
) -> Iterator[Finding]:
    if keys.get("stopasgroup", "false").lower() in {"true", "1", "yes", "on"}:
        yield Finding("reliable.E021", section, f"{section} has stopasgroup=true.")
    wait = float(keys.get("stopwaitsecs", _STOP_WAIT))
    if wait <= limit:
        what = f"{section} waits {wait:g} s for a stop that may take {limit:g} s."
        yield Finding("reliable.E020", section, what)
    if options.get("pool", "prefork") not in POOLS_WITH_LIMITS:
        yield Finding("reliable.W103", section, f"{section} uses the pool {options['pool']}.")


def _options(words: list[str]) -> dict[str, str]:
    """The options of `celery worker` that matter here, by their long names."""
    short = {"-Q": "queues", "-P": "pool"}
    found = {}
    for number, word in enumerate(words):
        name, _, value = word.partition("=")
        key = short.get(name) or name.removeprefix("--")
        if key in {"queues", "pool", "time-limit"}:
            found[key] = value or next(iter(words[number + 1 :]), "")
    return found
