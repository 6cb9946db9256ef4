"""`manage.py jobs list|show|stats`: operators see what there is, and no secret."""

import json
import re
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from reliable.jobs.models import Attempt, Job, Tally, Worker
from reliable.jobs.states import Outcome
from reliable.testing.run_jobs import run_jobs
from reliable.tests.commands import a_job, jobs, machine, post, sign_in


def listed(*filters: str) -> set[str]:
    return {job["id"] for job in machine("list", *filters)["jobs"]}


def test_each_filter_finds_its_jobs_and_no_others(db: None) -> None:
    ago = timezone.now() - timedelta(hours=3)
    jobs_ = {
        "plain": a_job(),
        "failed": a_job("failed", error="ConnectionError: 50% of Warehouse_1 is away"),
        "old": a_job("failed", finished_at=ago, created_at=ago),
        "old, unfinished": a_job(created_at=ago),
        "slow": a_job("failed", queue="slow", created_at=ago),
        "tagged": a_job(tags=["a", "b"]),
        "another": a_job(task="another"),
    }

    def found(*filters: str) -> set[str]:
        there = listed(*filters)
        return {name for name, job in jobs_.items() if str(job.pk) in there}

    assert found() == set(jobs_)
    assert found("--state", "failed") == {"failed", "old", "slow"}
    assert found("--task", "another") == {"another"}
    assert found("--queue", "slow") == {"slow"}
    assert found("--tag", "b", "a") == {"tagged"}
    assert found("--tag", "b", "c") == set()
    assert found("--error", "50% of warehouse_") == {"failed"}
    assert found("--until", "2h") == {"old", "old, unfinished"}
    assert found("--since", "2h", "--state", "failed") == {"failed", "slow"}
    assert found("--since", f"{timezone.now() - timedelta(hours=4)}", "--until", "1h") == {
        "old",
        "old, unfinished",
    }
    assert found("--id", str(jobs_["old"].pk), str(jobs_["plain"].pk)) == {"old", "plain"}


def test_pages_go_from_the_newest_to_the_oldest_and_meet(db: None) -> None:
    made = [str(a_job(id=uuid.UUID(int=number)).pk) for number in range(1, 6)]
    first = machine("list", "--limit", "3")
    second = machine("list", "--limit", "3", "--before", first["jobs"][-1]["id"])
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == made[::-1]
    assert (first["more"], second["more"]) == (True, False)
    assert f"There are more: add --before {made[2]}" in jobs("list", "--limit", "3")


def test_columns_are_aligned_and_an_error_cannot_steer_the_terminal(db: None) -> None:
    a_job("failed", error="\x1b[2J gone\nsecond line")
    a_job("running", task="longer." * 5)
    lines = jobs("list").splitlines()
    assert len({line.index("mail") for line in lines[1:]} | {lines[0].index("QUEUE")}) == 1
    assert "\x1b" not in "".join(lines)
    assert "gone second line" in lines[2]


def test_a_job_is_shown_with_its_attempts_and_its_family(db: None) -> None:
    post.delay(-1, copy=True)
    run_jobs(raise_errors=False)
    job = Job.objects.get()
    child = a_job("failed", parent_id=job.pk)
    assert re.search(rf"It enqueued 1 job:\n +{child.pk} +failed", jobs("show", str(job.pk)))
    assert f"Enqueued by {job.pk}" in jobs("show", str(child.pk))
    text = jobs("show", str(job.pk))
    assert "ValueError: -1 is no number" in text
    assert "in post" in text  # the traceback
    assert re.search(r"number: +-1\n +copy: +True", text)
    shown = machine("show", str(job.pk))
    assert shown["arguments"] == {"number": -1, "copy": True}
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["failed"]


def test_no_secret_argument_is_shown_anywhere(db: None) -> None:
    sign_in.delay("ada", "hunter2hunter2")
    sign_in.delay("mallory", password="hunter2hunter2")
    run_jobs(raise_errors=False)
    for job in Job.objects.all():
        job.progress = {"using": ["hunter2hunter2"], "hunter2hunter2": 1}
        job.unique_key = None
        job.save()
        for json_ in ((), ("--json",)):
            text = jobs("show", str(job.pk), *json_)
            assert "hunter2" not in text
            assert "[secret]" in text
        assert machine("show", str(job.pk))["arguments"]["user"] in {"ada", "mallory"}
    assert "hunter2" not in jobs("list") + jobs("list", "--json")


def test_the_key_of_a_unique_job_is_not_shown_since_it_is_its_arguments(db: None) -> None:
    job = a_job(task=sign_in.name, args=["ada", "hunter2"], unique_key='["ada","hunter2"]')
    assert "hunter2" not in jobs("show", str(job.pk)) + jobs("show", str(job.pk), "--json")


@pytest.mark.parametrize("task", ["gone", sign_in.name], ids=["unknown", "does not bind"])
def test_of_a_call_that_this_release_does_not_understand_no_value_is_shown(
    db: None, task: str
) -> None:
    job = a_job(
        task=task, args=["hunter2", "a", 1234567], kwargs={"key": "hunter3"}, progress=1234567
    )
    shown = machine("show", str(job.pk))
    assert set(shown["arguments"]) == {"#1", "#2", "#3", "key"}
    text = json.dumps(shown) + jobs("show", str(job.pk))
    assert not re.search("hunter|1234567", text)


def test_a_job_that_waits_says_for_what(db: None) -> None:
    job = a_job()
    Worker.objects.create(id=uuid.uuid4(), name="another", queues=["slow"], slots=1)
    assert "No worker reads the queue mail" in jobs("show", str(job.pk))
    Worker.objects.create(id=uuid.uuid4(), name="w", queues=["mail"], slots=1)
    assert "It is due since" in jobs("show", str(job.pk))
    jobs("pause", "mail", "--why", "the host is moved", "--by", "ada")
    assert re.search(
        r"queue mail is paused since .* by ada \(the host is moved\)", jobs("show", str(job.pk))
    )
    later = a_job(queue="slow", run_at=timezone.now() + timedelta(hours=2, minutes=5))
    assert re.search(r"It is due at .*, in 2 h [45] min", jobs("show", str(later.pk)))


def test_counts_are_by_task_and_state_with_what_waits_and_runs(db: None) -> None:
    ago = timezone.now() - timedelta(minutes=10)
    a_job(run_at=ago)
    a_job(run_at=timezone.now() - timedelta(minutes=2))
    a_job(run_at=timezone.now() + timedelta(days=1))
    failed = a_job("failed", task="another")
    running = a_job("running", started_at=ago)
    for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.CHILD_LOST):
        Attempt.objects.create(job=failed, claim_no=1, outcome=outcome, counted=True)
    jobs("pause", "slow", "--by", "ada")

    stats = machine("stats")
    counts = {row["task"]: row for row in stats["tasks"]}
    assert counts["another"]["failed"] == 1
    mine = counts[post.name]
    assert (mine["waiting"], mine["scheduled"], mine["running"], mine["failed"]) == (2, 1, 1, 0)
    waits = {row["queue"]: row for row in stats["queues"]}
    assert waits["mail"]["due"] == 2
    assert 600 <= waits["mail"]["oldest_seconds"] < 660
    assert "by ada" in waits["slow"]["paused"]
    assert [(row["id"], row["seconds"] >= 600) for row in stats["running"]] == [
        (str(running.pk), True)
    ]
    assert {(row["outcome"], row["count"]) for row in stats["attempts"]} == {
        ("failed", 2),
        ("child lost", 1),
    }
    text = jobs("stats")
    assert re.search(rf"Queue mail: 2 wait, the oldest \({post.name}\) for 10 min", text)
    assert re.search(r"Queue slow: nothing waits; paused since .* by ada", text)


def test_what_ran_is_told_by_queue_and_by_task(db: None) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for ago, kind, bucket, count in (
        (0, "ran", 0, 99),
        (0, "ran", 25, 1),
        (0, "waited", -20, 100),
        (0, "failed", 0, 3),
        (0, "dead", 0, 1),
        (5, "ran", 0, 10),
    ):
        Tally.objects.create(
            hour=hour - timedelta(hours=ago),
            queue="mail",
            task="a.task",
            kind=kind,
            bucket=bucket,
            count=count,
        )
    lately = machine("stats", "--since", "1h")
    [row] = lately["ran_by_task"]
    assert (row["task"], row["queue"], row["runs"], row["failures"]) == ("a.task", "mail", 103, 3)
    assert row["ran_p50"] == pytest.approx(1.1, rel=0.01)
    assert row["ran_p99"] == row["ran_p50"]
    [row] = machine("stats")["ran_by_queue"]
    assert (row["queue"], row["runs"], row["dead"]) == ("mail", 113, 1)
    assert re.search(r"QUEUE +RUNS +FAILURES +DEAD +WAITED p50", jobs("stats"))
    assert re.search(r"a\.task +mail +113 +3 +1 +29 ms +29 ms +29 ms +1\.1 s", jobs("stats"))


def test_an_empty_table_is_a_sentence(db: None) -> None:
    assert jobs("list") == "There is no such job.\n"
    assert jobs("stats") == "There is no job.\n"
    assert jobs("inflight") == "This release can run every unfinished job.\n"
