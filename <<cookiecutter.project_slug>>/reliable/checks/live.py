"""What only the running servers and workers can tell. Each question has an end, answered or not."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from django.conf import settings
from django.db import DatabaseError, connection
from redis import Redis, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from reliable.checks.celery_settings import redis_caches, shared_with_broker, uses_redis
from reliable.checks.findings import Finding
from reliable.queues import of_job_queue
from reliable.redaction import without_secrets
from reliable.redis import passwords, same_instance

# Seconds to wait for a server, and for all workers together.
_PATIENCE = 2.0
_OLDEST_REDIS = (7, 0)
_OLDEST_POSTGRESQL = 150000
_CLOCKS_MAY_DIFFER = 2.0


def check(app: Celery, queues: Mapping[str, Any], expected: int | None = None) -> Iterator[Finding]:
    """Findings in the broker, the database and the workers that run now.

    expected: how many workers run; when all have answered, nobody is waited for.
    """
    yield from _postgresql()
    if uses_redis(app.conf):
        yield from _broker(app, queues, expected)


def _broker(app: Celery, queues: Mapping[str, Any], expected: int | None) -> Iterator[Finding]:
    limits = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
    once = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    try:
        with app.connection_for_read(transport_options={**limits, **once}) as broker:
            channel: Any = broker.channel()
            info = channel.client.info()
            yield from judge_broker(info, _fsync(channel.client))
            begun = time.time()
            seconds, microseconds = channel.client.time()
            yield from _clock("broker", seconds + microseconds / 1e6, begun)
            yield from _caches(app, str(info.get("run_id")))
            yield from _workers(app, broker, queues, expected)
    except Exception as error:  # noqa: BLE001 - Redis, kombu and the socket each have their own
        what = f"The broker does not answer ({reason(error, passwords(str(app.conf.broker_url)))})."
        yield Finding("reliable.W130", "broker", what)


def judge_broker(info: Mapping[str, Any], fsync: str) -> Iterator[Finding]:
    """Findings in what the broker says of itself: its INFO, and its appendfsync."""
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield Finding("reliable.E030", "broker", f"The broker's maxmemory-policy is {policy}.")
    if not info.get("aof_enabled"):
        yield Finding("reliable.E031", "broker", "The broker keeps no append-only file.")
    elif fsync == "no":
        yield Finding("reliable.E033", "broker", "The broker's appendfsync is no.")
    version = str(info.get("valkey_version") or info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
        yield Finding("reliable.W131", "broker", f"The broker is Redis {version}, older than 7.0.")


def _fsync(client: Any) -> str:
    # INFO does not say it, and a managed Redis forbids CONFIG: there its provider answers for it.
    try:
        return str(client.config_get("appendfsync").get("appendfsync", ""))
    except ResponseError:
        return ""


def _caches(app: Celery, broker: str) -> Iterator[Finding]:
    """Caches on the broker's instance by another address; `broker` is its run id."""
    for alias, location in redis_caches(settings):
        if same_instance(str(app.conf.broker_url), location):
            continue  # found in the settings
        limits: dict[str, Any] = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
        try:
            with Redis.from_url(location, **limits, retry=Retry(NoBackoff(), 0)) as cache:
                info: Any = cache.info("server")
        except RedisError as error:
            what = f"The cache {alias!r} does not answer ({reason(error, passwords(location))})."
            yield Finding("reliable.W130", f"CACHES[{alias!r}]", what)
            continue
        if info.get("run_id") == broker:
            yield shared_with_broker(alias)


def _postgresql() -> Iterator[Finding]:
    try:
        with connection.cursor() as cursor:
            begun = time.time()
            cursor.execute(
                "SELECT current_setting('server_version_num')::int,"
                " extract(epoch FROM clock_timestamp())::float"
            )
            version, now = cursor.fetchone()
    except DatabaseError as error:
        password = connection.settings_dict["PASSWORD"]
        what = f"The database does not answer ({reason(error, [password])})."
        yield Finding("reliable.W130", "database", what)
        return
    yield from judge_postgresql(version)
    yield from _clock("database", now, begun)


def judge_postgresql(version: int) -> Iterator[Finding]:
    """A finding if `server_version_num` is that of a version too old."""
    if version < _OLDEST_POSTGRESQL:
        what = f"The database is PostgreSQL {version // 10000}, older than 15."
        yield Finding("reliable.W131", "database", what)


def _clock(server: str, its_time: float, asked: float) -> Iterator[Finding]:
    difference = its_time - (asked + time.time()) / 2
    if abs(difference) > _CLOCKS_MAY_DIFFER:
        what = f"The clock of the {server} differs from this host's by {difference:.1f} s."
        yield Finding("reliable.W132", server, what)


def _workers(
    app: Celery, broker: Any, queues: Mapping[str, Any], expected: int | None
) -> Iterator[Finding]:
    inspect = app.control.inspect(timeout=_PATIENCE, connection=broker, limit=expected)
    reading = inspect.active_queues() or {}
    read = {queue["name"] for each in reading.values() for queue in each}
    # A worker reads a queue's list of durable tasks beside the queue.
    lists = {name for name in app.amqp.queues if of_job_queue(name)}
    # Probes ask each worker in a list of its own, under Celery's name for it.
    own = {f"{worker}.dq2" for worker in reading}
    for name in dict.fromkeys([*(queues or app.amqp.queues), *sorted(lists)]):
        if name not in read:
            yield Finding("reliable.E032", name, f"No running worker reads the queue {name}.")
    if queues:
        for name in sorted(read - set(queues) - lists - own):
            yield Finding("reliable.W120", name, f"A worker reads {name}, which nobody declared.")
    # Those who have answered once are not waited for any longer than it takes them.
    again = app.control.inspect(timeout=_PATIENCE, connection=broker, limit=len(reading))
    timeouts = {
        worker: (conf.get("broker_transport_options") or {}).get("visibility_timeout", 3600)
        for worker, conf in ((reading and again.conf(with_defaults=True)) or {}).items()
    }
    if len(set(timeouts.values())) > 1:
        said = ", ".join(f"{worker} {seconds} s" for worker, seconds in sorted(timeouts.items()))
        yield Finding("reliable.W101", "workers", f"Workers differ in visibility_timeout: {said}.")


def reason(error: Exception, secrets: list[str]) -> str:
    """The error on one line: a wrong password, a refused certificate and a dead host differ."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {without_secrets(text, filter(None, secrets))}"
