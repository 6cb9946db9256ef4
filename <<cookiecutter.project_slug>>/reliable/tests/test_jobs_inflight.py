"""`manage.py jobs inflight`: a new release names the unfinished jobs that it cannot run."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from reliable.tests.commands import a_job


def inflight() -> tuple[int, list[dict[str, Any]]]:
    out = StringIO()
    status = 0
    try:
        call_command("jobs", "inflight", "--json", stdout=out)
    except SystemExit as end:
        status = int(end.code or 0)
    return status, json.loads(out.getvalue())


def test_jobs_that_this_release_cannot_run_are_named_and_stop_the_deploy(db: None) -> None:
    a_job()
    a_job(kwargs={"copy": True})
    unknown = [a_job(task="removed"), a_job("running", task="removed")]
    too_many = a_job("held", args=[1, 2])
    renamed = a_job(kwargs={"copies": True})
    undeclared = a_job(queue="gone")
    a_job("failed", task="removed")

    status, found = inflight()

    assert status == 1
    assert {(each["example"], each["count"]) for each in found} == {
        (str(min(job.pk for job in unknown)), 2),
        (str(too_many.pk), 1),
        (str(renamed.pk), 1),
        (str(undeclared.pk), 1),
    }
    why = {each["example"]: each["why"] for each in found}
    assert why[str(unknown[0].pk)] == "this release has no durable task removed"
    assert "too many positional arguments" in why[str(too_many.pk)]
    assert "unexpected keyword argument 'copies'" in why[str(renamed.pk)]
    assert "the queue 'gone' is not declared (declared: critical, mail" in why[str(undeclared.pk)]
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("jobs", "inflight", stdout=out)
    assert re.search(
        r"2 jobs of removed in the queue mail, called with 1 .*, cannot run: this", out.getvalue()
    )
    assert out.getvalue().endswith("5 jobs would not run in this release.\n")


def test_a_release_that_can_run_everything_may_take_over(db: None) -> None:
    a_job()
    a_job(kwargs={"copy": True})
    a_job("running", args=[], kwargs={"number": 1, "copy": False})
    assert inflight() == (0, [])
