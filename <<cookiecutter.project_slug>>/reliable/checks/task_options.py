"""The registered tasks: limits, retries, results."""

from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery

from reliable.checks.celery_settings import uses_redis, visibility_timeout
from reliable.checks.findings import Finding
from reliable.queues import job_queue
from reliable.startup import queue_of


def check(app: Celery, queues: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings in the tasks; `queues` is the declaration, empty in a project that has none."""
    conf: Any = app.conf
    longest = max((queue["time_limit"] for queue in queues.values()), default=0)
    timeout = visibility_timeout(conf)
    for name, task in sorted(app.tasks.items()):
        if name.startswith("celery."):
            continue
        yield from _retries(name, task)
        limit = task.time_limit or conf.task_time_limit or 0
        if not limit and not queues:
            yield Finding("reliable.W102", name, f"{name} has no time limit.")
        longest = max(longest, limit)
        if str(conf.result_backend or "").startswith("redis") and not task.ignore_result:
            yield Finding("reliable.E005", name, f"{name} leaves its result in Redis.")
        # The runner of durable tasks is: what it loses is offered again from its row.
        runs_jobs = getattr(task, "runs_jobs", False)
        if task.acks_late is False and conf.task_acks_late and not runs_jobs:
            yield Finding("reliable.E003", name, f"{name} is acknowledged before it runs.")
        if task.reject_on_worker_lost and not conf.task_reject_on_worker_lost:
            yield Finding("reliable.W105", name, f"{name} is rejected when its process dies.")
        if uses_redis(conf) and _latest_retry(task) >= timeout:
            what = (
                f"{name} may wait {_latest_retry(task):g} s for a retry, visibility {timeout:g} s."
            )
            yield Finding("reliable.W108", name, what)
    if uses_redis(conf) and longest >= timeout:
        what = f"The longest time limit is {longest:g} s, visibility_timeout {timeout:g} s."
        yield Finding("reliable.W101", "visibility_timeout", what)


def limits(app: Celery, queues: Mapping[str, Any]) -> dict[str, float]:
    """The longest that a task of each queue may take, in seconds; 0 if nothing limits it.

    The queues are those that are declared, or else those that the tasks go to.
    """
    conf: Any = app.conf
    longest = {name: float(queue["time_limit"]) for name, queue in queues.items()}
    for name, task in app.tasks.items():
        queue = queue_of(app, task)
        if name.startswith("celery.") or (queues and queue not in queues):
            continue
        # A task's own limit wins over its worker's.
        limit = task.time_limit or (0 if queues else conf.task_time_limit) or 0
        longest[queue] = max(longest.get(queue, 0.0), limit)
    # Beside a queue its worker reads the list of its durable tasks.
    lists = {job_queue(name): limit for name, limit in longest.items()}
    return longest | {name: limit for name, limit in lists.items() if name in app.amqp.queues}


def _retries(name: str, task: Any) -> Iterator[Finding]:
    if not getattr(task, "autoretry_for", ()):
        return
    # Celery keeps the decorator's options as attributes of the task; its default jitter is on, and
    # matters where there is a backoff.
    if not getattr(task, "retry_jitter", True) or not getattr(task, "retry_backoff", False):
        yield Finding("reliable.W106", name, f"{name} retries without backoff or without jitter.")
    if task.max_retries is None:
        yield Finding("reliable.W107", name, f"{name} retries without end.")


def _latest_retry(task: Any) -> float:
    if getattr(task, "retry_backoff", False):
        return float(getattr(task, "retry_backoff_max", 600))
    return float(task.default_retry_delay)
