"""Celery's settings: names that it ignores, and values that lose, repeat or hang tasks."""

import os
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, cast

from celery import Celery
from celery.app.defaults import NAMESPACES, flatten
from django.conf import LazySettings
from kombu.transport.redis import Channel

from reliable.checks.findings import Finding
from reliable.redis import same_instance

# kombu.Connection reads these of the transport options.
_CONNECTING = {"max_retries", "interval_start", "interval_step", "interval_max"}
POOLS_WITH_LIMITS = {"prefork", "processes"}
_EXITS_WITHOUT_REDIS = "5.7.0"


def check(app: Celery, settings: LazySettings) -> Iterator[Finding]:
    """Findings in the settings; only names that the project has set are judged as names."""
    yield from _names(app, settings)
    yield from _values(app, app.conf)
    yield from _broker(app.conf, settings)
    # A deployed supervisor file says it for each of its workers.
    elsewhere = getattr(settings, "SUPERVISOR_FILE", None)
    if soft_shutdown(app.conf) and not elsewhere and os.environ.get("REMAP_SIGTERM") != "SIGQUIT":
        what = "worker_soft_shutdown_timeout is set, and REMAP_SIGTERM is not SIGQUIT."
        yield Finding("reliable.W111", "worker_soft_shutdown_timeout", what)
    if version("celery") == _EXITS_WITHOUT_REDIS:
        yield Finding("reliable.E007", "celery", "Celery 5.7.0 is installed.")


def visibility_timeout(conf: Any) -> float:
    """Seconds until Redis gives an unacknowledged message away; Celery's default is an hour."""
    return float((conf.broker_transport_options or {}).get("visibility_timeout", 3600))


def soft_shutdown(conf: Any) -> float:
    """Seconds after which a stop gives running tasks back; 0 if it waits for them."""
    return float(conf.worker_soft_shutdown_timeout or 0)


def redis_caches(settings: LazySettings) -> Iterator[tuple[str, str]]:
    """The caches that are Redis: name in CACHES, and each address."""
    for alias, cache in settings.CACHES.items():
        locations = cache.get("LOCATION", "")
        for location in [locations] if isinstance(locations, str) else locations:
            if location.startswith(("redis", "unix")):
                yield alias, location


def shared_with_broker(alias: str) -> Finding:
    what = f"The cache {alias!r} is on the broker's Redis instance."
    return Finding("reliable.E008", f"CACHES[{alias!r}]", what)


def uses_redis(conf: Any) -> bool:
    return str(conf.broker_url or "").startswith(("redis", "sentinel"))


def _names(app: Celery, settings: LazySettings) -> Iterator[Finding]:
    namespace: str | None = getattr(app, "namespace", None)
    prefix = f"{namespace or 'CELERY'}_"
    known: dict[str, Any] = dict(cast("Iterable[tuple[str, Any]]", flatten(NAMESPACES)))
    renamed = {old: name for name, option in known.items() for old in option.old}
    for setting in sorted(name for name in dir(settings) if name.startswith(prefix)):
        name = setting.removeprefix(prefix).lower()
        if name in known:
            continue
        right = renamed.get(setting.lower()) or renamed.get(name)
        near = [right] if right else get_close_matches(name, known, n=1)
        guess = f" Its name is {prefix}{near[0].upper()}." if near else ""
        yield Finding("reliable.E002", setting, f"Celery has no setting {setting}.{guess}")
    if uses_redis(app.conf):
        allowed = {*Channel.from_transport_options, *_CONNECTING}
        for option in sorted(set(app.conf.broker_transport_options or {}) - allowed):
            near = get_close_matches(option, allowed, n=1)
            guess = f" Its name is {near[0]}." if near else ""
            what = f"The Redis transport has no option {option}.{guess}"
            yield Finding("reliable.E002", f"broker_transport_options.{option}", what)


def _values(app: Celery, conf: Any) -> Iterator[Finding]:
    if not conf.task_acks_late:
        yield Finding("reliable.E003", "task_acks_late", "Tasks are acknowledged before they run.")
    if {"pickle", "application/x-python-serialize"} & {
        *(conf.accept_content or ()),
        conf.task_serializer,
        conf.result_serializer,
    }:
        yield Finding("reliable.E004", "accept_content", "Celery sends or accepts pickle.")
    if conf.task_always_eager and "pytest" not in sys.modules and "test" not in sys.argv[1:2]:
        yield Finding("reliable.E006", "task_always_eager", "task_always_eager is on.")
    if conf.worker_pool not in POOLS_WITH_LIMITS:
        what = f"Workers use the pool {conf.worker_pool!r}."
        yield Finding("reliable.W103", "worker_pool", what)
    late = any(task.acks_late for task in app.tasks.values())
    if late and conf.worker_prefetch_multiplier != 1:
        what = f"worker_prefetch_multiplier is {conf.worker_prefetch_multiplier}."
        yield Finding("reliable.W104", "worker_prefetch_multiplier", what)
    if conf.task_reject_on_worker_lost:
        what = "task_reject_on_worker_lost is on, and Redis counts no deliveries."
        yield Finding("reliable.W105", "task_reject_on_worker_lost", what)


def _broker(conf: Any, settings: LazySettings) -> Iterator[Finding]:
    if not uses_redis(conf):
        return
    options = conf.broker_transport_options or {}
    missing = [
        name for name in ("socket_timeout", "socket_connect_timeout") if not options.get(name)
    ]
    if missing:
        what = f"The broker's connections have no {' and no '.join(missing)}."
        yield Finding("reliable.W109", "broker_transport_options", what)
    for alias, location in redis_caches(settings):
        if same_instance(conf.broker_url, location):
            yield shared_with_broker(alias)
