"""`run_jobs()`, for the tests of a project."""

import pytest
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from reliable.jobs.models import Attempt
from reliable.testing.run_jobs import run_jobs
from reliable.tests.acts import act, effects, next_act, raises


def test_run_jobs_works_where_nothing_is_committed(
    db: None, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    called: list[int] = []
    next_act.append(lambda: transaction.on_commit(lambda: called.append(1)))
    with django_capture_on_commit_callbacks(execute=True):
        act.delay()
        assert run_jobs() == 1
    assert called == [1]
    assert effects() == 1


def test_run_jobs_raises_what_a_body_raises_after_it_was_recorded(db: None) -> None:
    next_act.append(raises(ValueError("no")))
    act.delay()
    with pytest.raises(ValueError, match="no"):
        run_jobs()
    assert Attempt.objects.get().error == "ValueError: no"
