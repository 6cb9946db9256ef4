"""The fixture `dispatched`: what the tests of a project see of the tasks that are sent."""

from contextlib import suppress
from typing import Any

import pytest
from celery import current_app
from django.db import transaction
from django.test import TestCase

from reliable.tasks import at_once
from reliable.testing.dispatches import Dispatches, recorded
from reliable.testing.tasks import nap

pytestmark = pytest.mark.django_db


class Undone(Exception):  # noqa: N818
    """Rolls a transaction back."""


def test_it_sees_what_was_committed_and_not_what_was_rolled_back(dispatched: Dispatches) -> None:
    with transaction.atomic():
        result = nap.delay("kept", seconds=0.5)
        with suppress(Undone), transaction.atomic():
            nap.delay("undone")
            raise Undone

    assert dispatched.names == ["reliable.testing.tasks.nap"]
    [sent] = dispatched
    assert (sent.id, sent.args, sent.kwargs) == (result.id, ("kept",), {"seconds": 0.5})


@pytest.mark.django_db(transaction=True)
def test_it_sees_what_a_real_commit_sent(dispatched: Dispatches) -> None:
    with transaction.atomic():
        nap.apply_async(("a",), countdown=5)
        with at_once():
            nap.delay("b")

    assert [sent.args for sent in dispatched] == [("b",), ("a",)]
    assert dispatched[1].options == {"countdown": 5}


def test_it_runs_what_was_sent_and_what_that_sends(dispatched: Dispatches) -> None:
    ran = []

    @current_app.task(shared=False)
    def child(name: str) -> None:
        ran.append(name)

    @current_app.task(shared=False)
    def parent() -> None:
        ran.append("parent")
        with transaction.atomic():
            child.delay("after the commit")
            with at_once():
                child.delay("at once")

    parent.delay()
    dispatched.run()

    assert ran == ["parent", "at once", "after the commit"]
    assert not dispatched


def test_it_raises_what_a_task_raises(dispatched: Dispatches) -> None:
    @current_app.task(shared=False)
    def fail() -> None:
        raise Undone("no")

    fail.delay()
    with pytest.raises(Undone, match="no"):
        dispatched.run()


def test_it_ends_tasks_that_send_each_other_for_ever(dispatched: Dispatches) -> None:
    @current_app.task(shared=False, bind=True)
    def again(self: Any) -> None:
        self.delay()

    again.delay()
    with pytest.raises(AssertionError, match="do they send each other"):
        dispatched.run()


class UnittestCase(TestCase):
    def test_it_works_in_a_unittest_case(self) -> None:
        dispatched = self.enterContext(recorded())
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            nap.delay("captured")
        nap.delay("waiting")

        assert [sent.args for sent in dispatched] == [("captured",), ("waiting",)]
