"""A call or a task that cannot be kept is refused, by the name of what is wrong."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from celery import group
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from reliable.jobs import BadArgument, NotHonoured, durable, durable_task
from reliable.jobs.durable import DurableTask
from reliable.jobs.models import Job
from reliable.testing.run_jobs import run_jobs


@durable_task(queue="default")
def add(left: int, right: int = 0) -> int:
    return left + right


# --- Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, "a set is no JSON"),
        (b"bytes", "a bytes is no JSON"),
        (timezone.now(), "a datetime is no JSON"),
        (float("nan"), "Out of range float values"),
        ("a\0b", r"PostgreSQL cannot hold the character \\0"),
        ({"a\0": 1}, r"PostgreSQL cannot hold the character \\0"),
        (["\ud800"], "half of a surrogate pair"),
        ({1: "one"}, "JSON would turn the key 1 into text"),
        (Group(name="a"), "a Group is a row as it was, not as it will be; pass its primary key"),
    ],
)
def test_an_argument_that_cannot_be_kept_is_refused_by_its_name(value: Any, reason: str) -> None:
    with pytest.raises(BadArgument, match=f"the argument `right` cannot be kept: .*{reason}"):
        add.delay(1, right=value)


def test_an_argument_that_is_too_large_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadArgument, match=r"most of them `right`; the limit is 65,536\. Store"):
        add.delay(1, right="x" * 70_000)  # type: ignore[arg-type] # on purpose


def test_a_project_sets_how_large_arguments_may_be(settings: Any) -> None:
    settings.RELIABLE_JOB_ARGUMENTS_BYTES = 10
    with pytest.raises(BadArgument, match="the limit is 10"):
        add.delay(1, right=10_000_000)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"wrong": 1})], ids=str
)
def test_arguments_that_do_not_fit_the_task_are_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(BadArgument, match=r"test_jobs_refused\.add: .*argument"):
        add.delay(*args, **kwargs)


def test_arguments_arrive_as_they_were_sent(db: None) -> None:
    sent = {"text": 'ü"\\', "none": None, "list": [1, 2.5, True, {"a": []}], "big": 10**30}
    handle = echo.delay(sent)
    run_jobs()
    assert handle.result == sent


@durable_task(queue="default")
def echo(value: Any) -> Any:
    return value


# --- What a row cannot keep ----------------------------------------------------------------------


@pytest.mark.parametrize("option", ["link", "chord", "serializer", "task_id", "link_error"])
def test_options_that_cannot_be_honoured_are_refused_by_name(option: str) -> None:
    options: Any = {option: 1}
    with pytest.raises(NotHonoured, match=rf"a durable task has no `{option}`\. \w+"):
        add.apply_async((1,), **options)


@pytest.mark.parametrize(
    "use", [lambda: add.s(1), lambda: group([add.si(1)]), lambda: add.map([1]), lambda: add.chunks]
)
def test_celerys_canvas_is_refused_by_name(use: Callable[[], Any]) -> None:
    with pytest.raises(NotHonoured, match="a durable task has no `"):
        use()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_attempts": 0}, "max_attempts cannot be 0"),
        ({"priority": 10}, "priority cannot be 10"),
        ({"debounce": 0}, "debounce cannot be 0"),
        ({"unique": "sometimes"}, "unique cannot be 'sometimes'"),
        ({"time_limit": 0}, "time_limit cannot be 0"),
        ({"batch": 0}, "batch cannot be 0"),
        ({"batch": 51}, "batch cannot be 51"),
        ({"batch": 5, "atomic": False}, "batch=5 needs atomic=True.*Leave one of the two out"),
        ({"secret": ["pasword"]}, "secret= names no argument 'pasword'"),
    ],
)
def test_a_wrong_option_of_the_decorator_is_refused(options: Any, reason: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=reason):

        @durable_task(name="never", **options)
        def never(password: str) -> None: ...


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"queue": "typo"}, "routed to the queue 'typo', which is not declared"),
        ({"queue": "slow", "time_limit": 301}, "may take 301 s in one transaction"),
        ({"queue": "critical", "time_limit": 30}, r"not below the hard limit .* \(30 s\)"),
    ],
)
def test_a_task_that_could_not_run_keeps_every_process_from_starting(
    options: Any, reason: str
) -> None:
    limit, queue = options.get("time_limit"), options["queue"]
    task = DurableTask(lambda: None, "unregistered", queue_name=queue, limit=limit)
    assert re.search(reason, task.problem() or "")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"queue": "typo"}, "the queue 'typo' is not declared"),
        ({"queue": "mail.jobs"}, "the queue 'mail.jobs' is not declared"),
        ({"priority": 10}, "priority=10 is not between 0 and 9"),
        ({"eta": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
    ],
)
def test_a_wrong_option_of_a_call_is_refused(options: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        add.apply_async((1,), **options)


class JobsElsewhere:
    """A database router."""

    def db_for_write(self, model: type[Any], **hints: Any) -> str | None:
        return "other" if model is Job else None


def test_jobs_in_another_database_than_the_data_keep_every_process_from_starting(
    settings: Any,
) -> None:
    assert durable.problems() == []
    settings.DATABASE_ROUTERS = [f"{__name__}.JobsElsewhere"]
    [problem] = durable.problems()
    assert "sends jobs to 'other'; they must be in 'default', with the data" in problem
