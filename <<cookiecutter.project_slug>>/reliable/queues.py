"""The declaration of queues: each named once, with its limits, its promise and its routes.

A project keeps it in a YAML file and parses it once, in its settings:

    QUEUES = queues.load(BASE_DIR / "config/queues.yml")

Everything else reads `settings.QUEUES`, never the file; a project without such a file may define
the dictionary in Python and pass it through `validate`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import yaml
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

DEFAULT_QUEUE = "default"

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_JOBS = ".jobs"


class Latency(TypedDict):
    """Seconds from send to start: `warn` is the promise, `critical` is an incident."""

    warn: int
    critical: int


class Queue(TypedDict):
    """One queue, as `settings.QUEUES` holds it. Limits are seconds, concurrency is processes."""

    purpose: str
    concurrency: int
    soft_time_limit: int
    time_limit: int
    latency: Latency
    routes: list[str]


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error; by default the last silently wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key}` stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def load(path: Path) -> dict[str, Queue]:
    """Read the declaration from a YAML file.

    Raises ImproperlyConfigured with the file, the queue and the field that is wrong.
    """
    try:
        declared = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ImproperlyConfigured(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ImproperlyConfigured(f"{path}: cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise ImproperlyConfigured(f"{path}: not valid YAML: {error}") from error
    return validate(declared, source=str(path))


def validate(declared: object, source: str = "QUEUES") -> dict[str, Queue]:
    """Return the declaration with every field present, or raise ImproperlyConfigured.

    `source` names the place in messages.
    """
    if not isinstance(declared, Mapping) or not declared:
        raise ImproperlyConfigured(f"{source}: declare at least the queue `{DEFAULT_QUEUE}:`.")
    queues = {}
    for name, fields in declared.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ImproperlyConfigured(
                f"{source}: {name!r} is no queue name; use lower-case letters, digits, `_` and `-`,"
                " starting with a letter and at most 40 long, for example `image-resize`."
            )
        queues[name] = _queue(fields, f"{source}: queue `{name}`")
    if DEFAULT_QUEUE not in queues:
        raise ImproperlyConfigured(
            f"{source}: the queue `{DEFAULT_QUEUE}` is missing; tasks that no route fits go there."
        )
    declared_by: dict[str, str] = {}
    for name, queue in queues.items():
        for pattern in queue["routes"]:
            if pattern in declared_by:
                raise ImproperlyConfigured(
                    f"{source}: the route {pattern!r} stands at the queues `{declared_by[pattern]}`"
                    f" and `{name}`; keep one."
                )
            declared_by[pattern] = name
    return queues


def job_queue(name: str) -> str:
    """The list for durable tasks beside a queue's own, so that neither kind starves the other.

    No declared queue can have this name. The queue's worker reads both, in turn.
    """
    return f"{name}{_JOBS}"


def of_job_queue(name: str) -> str | None:
    """The queue beside which a list stands; None if it is no list for durable tasks."""
    return name.removesuffix(_JOBS) if name.endswith(_JOBS) else None


def read_by_workers(queues: Iterable[str]) -> list[str]:
    """Each queue, and its list for durable tasks."""
    return [each for name in queues for each in (name, job_queue(name))]


def declared() -> Mapping[str, Queue]:
    """The declaration in the settings; empty in a project that has none."""
    queues: Mapping[str, Queue] = getattr(settings, "QUEUES", {})
    return queues


def celery_routes(queues: Mapping[str, Queue]) -> dict[str, dict[str, str]]:
    """The declaration's routes in the form of Celery's `task_routes`, in the order declared."""
    return {
        pattern: {"queue": name} for name, queue in queues.items() for pattern in queue["routes"]
    }


def _queue(fields: object, where: str) -> Queue:
    if not isinstance(fields, Mapping):
        raise ImproperlyConfigured(f"{where}: needs its fields, for example `time_limit: 60`.")
    unknown = sorted(set(map(str, fields)) - set(Queue.__annotations__))
    if unknown:
        known = ", ".join(Queue.__annotations__)
        raise ImproperlyConfigured(
            f"{where}: unknown field `{unknown[0]}`; the fields are {known}."
        )
    latency = _field(fields, "latency", dict, where, "{warn: 30, critical: 120}")
    queue = Queue(
        purpose=_text(
            _field(fields, "purpose", str, where, "calls to the warehouse"),
            where,
            "purpose",
            "calls to the warehouse",
        ),
        concurrency=_positive(fields, "concurrency", where, 2),
        soft_time_limit=_positive(fields, "soft_time_limit", where, 50),
        time_limit=_positive(fields, "time_limit", where, 60),
        latency=Latency(
            warn=_positive(latency, "warn", f"{where}, latency", 30),
            critical=_positive(latency, "critical", f"{where}, latency", 120),
        ),
        routes=[
            _text(pattern, where, "routes", '["*.email_*"]')
            for pattern in _field(fields, "routes", list, where, '["*.email_*"]', [])
        ],
    )
    _ascending(
        queue["soft_time_limit"], queue["time_limit"], where, "soft_time_limit", "time_limit"
    )
    _ascending(queue["latency"]["warn"], queue["latency"]["critical"], where, "warn", "critical")
    return queue


def _field(
    fields: Mapping[str, Any],
    name: str,
    kind: type,
    where: str,
    example: object,
    default: Any = None,
) -> Any:
    value = fields.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        problem = "is missing" if name not in fields else f"cannot be {value!r}"
        raise ImproperlyConfigured(
            f"{where}: `{name}` {problem}; write for example `{name}: {example}`."
        )
    return value


def _text(value: object, where: str, name: str, example: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ImproperlyConfigured(
            f"{where}: `{name}` cannot be {value!r}; write for example `{name}: {example}`."
        )
    return value


def _positive(fields: Mapping[str, Any], name: str, where: str, example: int) -> int:
    value: int = _field(fields, name, int, where, example)
    if value < 1:
        raise ImproperlyConfigured(
            f"{where}: `{name}` cannot be {value}; write for example `{name}: {example}`."
        )
    return value


def _ascending(low: int, high: int, where: str, low_name: str, high_name: str) -> None:
    if low >= high:
        raise ImproperlyConfigured(
            f"{where}: `{low_name}` ({low}) must be below `{high_name}` ({high})."
        )
