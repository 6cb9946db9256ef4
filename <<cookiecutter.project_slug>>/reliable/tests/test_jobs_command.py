"""`manage.py jobs`: operators see what there is, and change exactly what they named."""

import json
import re
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from structlog.testing import capture_logs

from reliable.jobs import State, durable_task, operations, sql, transitions
from reliable.jobs.database import Session
from reliable.jobs.models import Attempt, Job, Queue, Tally, Worker
from reliable.jobs.states import FINISHED, Outcome
from reliable.testing.run_jobs import run_jobs
from reliable.tests import staff

HERE = "reliable.tests.test_jobs_command"


@durable_task(queue="mail", tags=["post"])
def post(number: int, *, copy: bool = False) -> None:
    if number < 0:
        raise ValueError(f"{number} is no number")


@durable_task(queue="default", secret=["password"], max_attempts=1)
def sign_in(user: str, password: str) -> str:
    if user == "mallory":
        raise PermissionError(f"{password} is wrong")
    return f"{user} used {password}"


def jobs(*arguments: str) -> str:
    """What the command prints."""
    out = StringIO()
    call_command("jobs", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def machine(*arguments: str) -> Any:
    return json.loads(jobs(*arguments, "--json"))


def listed(*filters: str) -> set[str]:
    return {job["id"] for job in machine("list", *filters)["jobs"]}


def a_job(state: str = "waiting", task: str = f"{HERE}.post", **columns: Any) -> Job:
    return staff.a_job(task, state, **columns)


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


# --- Looking -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("task", ["gone", f"{HERE}.sign_in"], ids=["unknown", "does not bind"])
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
    mine = counts[f"{HERE}.post"]
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
    assert re.search(rf"Queue mail: 2 wait, the oldest \({HERE}\.post\) for 10 min", text)
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


# --- Changing ------------------------------------------------------------------------------------


def test_retry_gives_failed_jobs_all_their_attempts_again(db: None) -> None:
    job = a_job("failed", attempt=5, claim_no=5)
    other = a_job("failed", queue="slow")
    assert jobs("retry", "--queue", "mail") == "1 job retried.\n"
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.WAITING, 0)
    assert state_of(other) == State.FAILED


def test_what_was_discarded_comes_back_only_when_it_is_asked_for(db: None) -> None:
    job = a_job("failed")
    jobs("discard", "--all", "--why", "a test order")
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    assert re.fullmatch(r"discarded by .+: a test order", job.error)
    jobs("retry", "--task", post.name)
    assert state_of(job) == State.CANCELLED
    jobs("retry", "--id", str(job.pk))
    assert state_of(job) == State.WAITING


def test_cancel_ends_what_has_not_ended_and_nothing_else(db: None) -> None:
    unfinished = [a_job(state) for state in ("held", "waiting", "running")]
    finished = [a_job(state) for state in FINISHED]
    assert jobs("cancel", "--all") == "3 jobs cancelled.\n"
    assert {state_of(job) for job in unfinished} == {"cancelled"}
    assert [state_of(job) for job in finished] == list(FINISHED)


def test_an_id_that_cannot_be_changed_is_named_with_its_state(db: None) -> None:
    failed, running = a_job("failed"), a_job("running")
    text = jobs("retry", "--id", str(failed.pk), str(running.pk))
    assert text == f"Job {running.pk} is running: it cannot be retried.\n1 job retried.\n"


@pytest.mark.parametrize("operation", ["retry", "discard", "cancel"])
def test_a_dry_run_says_how_many_shows_ten_and_changes_nothing(db: None, operation: str) -> None:
    state = "waiting" if operation == "cancel" else "failed"
    made = [a_job(state) for _ in range(12)]
    text = jobs(operation, "--all", "--dry-run")
    assert re.search(r"12 jobs would be \w+\. Nothing was changed\.", text)
    assert sum(str(job.pk) in text for job in made) == 10
    assert {state_of(job) for job in made} == {state}
    assert machine(operation, "--all", "--dry-run")["matched"] == 12


def test_many_jobs_are_changed_in_batches_with_progress(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(operations, "_SCAN", 4)
    monkeypatch.setattr("reliable.jobs.management.commands.jobs._PROGRESS_AFTER", 0)
    made = [a_job("failed") for _ in range(9)]
    out, progress = StringIO(), StringIO()
    call_command("jobs", "retry", "--all", stdout=out, stderr=progress)
    assert out.getvalue() == "9 jobs retried.\n"
    assert "of 9 ..." in progress.getvalue()
    assert {state_of(job) for job in made} == {"waiting"}


def test_a_job_that_fails_again_at_once_is_retried_once(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(operations, "_SCAN", 4)
    made = [a_job("failed").pk for _ in range(9)]
    retried: list[uuid.UUID] = []

    def fails_again(ids_: Any, reason: str) -> list[uuid.UUID]:
        retried.extend(ids_)
        return list(ids_)

    retry = operations.OPERATIONS["retry"]
    changed = type(retry)(**{**vars(retry), "act": fails_again})
    monkeypatch.setitem(operations.OPERATIONS, "retry", changed)
    assert jobs("retry", "--state", "failed") == "9 jobs retried.\n"
    assert retried == sorted(made)


def test_a_stop_says_how_many_were_changed_by_then(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 1)
    made = [a_job("failed") for _ in range(3)]
    calls = iter(range(2))

    def stopped_at_the_second(ids_: Any, reason: str) -> list[uuid.UUID]:
        if next(calls):
            raise KeyboardInterrupt
        return transitions.discard(ids_, reason)

    discard = operations.OPERATIONS["discard"]
    changed = type(discard)(**{**vars(discard), "act": stopped_at_the_second})
    monkeypatch.setitem(operations.OPERATIONS, "discard", changed)
    with pytest.raises(CommandError, match="1 job discarded of 3, then: stopped") as caught:
        jobs("discard", "--all")
    assert caught.value.returncode == 130
    assert sorted(map(state_of, made)) == ["cancelled", "failed", "failed"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["retry"], r"takes filters, or --all, which is every job that is failed: name one"),
        (["retry", "--all", "--queue", "mail"], "not both"),
        (["retry", "--state", "lost"], "no such state; there are held, waiting, running, succeede"),
        (["retry", "--state", "running"], "retry takes jobs that are failed, cancelled, expired"),
        (["discard", "--state", "expired"], "discard takes jobs that are failed"),
        (["cancel", "--queue", "mial"], "not declared and has no job; declared: critical, mail"),
        (["retry", "--task", f"{HERE}.psot"], rf"near it is {HERE}\.post"),
        (["retry", "--id", "12"], "'12' is no job's id; one looks like 0199"),
        (["retry", "--id", str(uuid.UUID(int=1))], "There is no job 00000000"),
        (["retry", "--since", "yesterday"], r"no time; write for example \d{4}-.* or 2h"),
        (["retry", "--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["retry", "--error", ""], "--error '' is no text"),
        (["discard", "--all", "--why", "\udcff"], "is no text"),
        (["stats", "--since", "yesterday"], r"no time; write for example"),
        (["list", "--limit", "0"], "write a number from 1 on"),
        (["list", "--before", "x"], "'x' is no job's id"),
        (["show", str(uuid.UUID(int=1))], "rolled back, or it was purged"),
        (["pause", "mial"], "'mial' is not declared; declared: critical, mail"),
        (["resume", "mial"], "'mial' is not declared; declared: critical, mail"),
        (["limit", "mial", "3"], "'mial' is not declared; declared: critical, mail"),
        (
            ["limit", "mail", "0"],
            "limit of 0 jobs is not possible: write a number from 1 to 10,000",
        ),
        (["limit", "mail", "10001"], "limit of 10,001 jobs is not possible"),
        (["limit", "mail", "-3"], "'-3' is no limit; write a number of jobs, for example 3"),
        (["limit", "mail", "few"], "'few' is no limit; write a number of jobs, for example 3"),
        (["pause", "mail", "--for", "soon"], "no duration; write for example 90s"),
        (["pause", "mail", "--until", "2001-01-01T00:00"], "not in the next ten years"),
    ],
    ids=lambda value: (
        " ".join(value).encode("ascii", "replace").decode() if isinstance(value, list) else ""
    ),
)
def test_bad_input_is_refused_before_anything_is_changed(
    db: None, arguments: list[str], reason: str
) -> None:
    job = a_job("failed")
    with pytest.raises(CommandError, match=reason) as caught:
        jobs(*arguments)
    assert caught.value.returncode == 2
    assert state_of(job) == State.FAILED
    assert not Queue.objects.exists()


# --- Queues --------------------------------------------------------------------------------------


def test_a_paused_queue_starts_nothing_until_it_is_resumed(db: None) -> None:
    job = a_job()
    jobs("pause", "mail", "--why", "the provider is down", "--by", "ada", "--for", "2h")
    with pytest.raises(AssertionError, match="its queue is paused"):
        run_jobs()
    queue = Queue.objects.get()
    assert (queue.paused_by, queue.paused_why) == ("ada", "the provider is down")
    assert queue.paused_at
    assert queue.paused_until
    assert round((queue.paused_until - queue.paused_at).total_seconds()) == 7200
    assert "goes on; it was paused since" in jobs("resume", "mail", "--by", "grace")
    run_jobs()
    assert state_of(job) == State.SUCCEEDED
    assert jobs("resume", "mail") == "The queue mail was not paused.\n"


def test_the_log_says_who_paused_and_who_resumed(db: None) -> None:
    with capture_logs() as lines:
        jobs("pause", "mail", "--why", "it is down", "--by", "ada")
        jobs("resume", "mail", "--by", "grace")
    assert lines == [
        {
            "event": "queue.paused",
            "log_level": "info",
            "queue": "mail",
            "by": "ada",
            "why": "it is down",
        },
        {"event": "queue.resumed", "log_level": "info", "queue": "mail", "by": "grace"},
    ]


def test_a_pause_that_is_said_again_keeps_its_beginning_and_takes_the_new_end(db: None) -> None:
    first = machine("pause", "mail", "--for", "60")
    second = machine("pause", "mail", "--by", "ada")
    assert second["since"] == first["since"]
    assert (first["until"] is None, second["until"]) == (False, None)
    assert Queue.objects.get().paused_by == "ada"


def test_a_pause_has_somebody_behind_it(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    jobs("pause", "mail")
    assert Queue.objects.get().paused_by == "ada"


def test_a_queue_that_is_no_longer_declared_can_still_be_resumed(db: None) -> None:
    Queue.objects.create(name="gone", paused_at=timezone.now())
    assert "goes on" in jobs("resume", "gone")


def test_resume_wakes_the_relays(transactional_db: None) -> None:
    ear = Session()
    ear.execute(f"LISTEN {sql.CHANNEL}")
    jobs("pause", "mail")
    jobs("resume", "mail")
    heard = [notify.payload for notify in ear.raw.notifies(timeout=5, stop_after=1)]
    ear.close()
    assert heard == ["mail"]


def test_a_limit_is_set_shown_changed_and_removed(db: None) -> None:
    assert "No job of the queue mail starts while 1 run. It had none." in jobs("limit", "mail", "1")
    assert re.search(r"Queue mail: nothing waits; 1 may run at once\.", jobs("stats"))
    running = a_job("running", slot=1)
    a_job()
    with pytest.raises(AssertionError, match="or is at its limit"):
        run_jobs()
    with capture_logs() as lines:
        assert machine("limit", "mail", "3", "--by", "ada") == {
            "queue": "mail",
            "limit": 3,
            "before": 1,
        }
    assert lines == [
        {
            "event": "queue.limited",
            "log_level": "info",
            "queue": "mail",
            "by": "ada",
            "limit": 3,
            "before": 1,
        }
    ]
    assert run_jobs() == 1
    assert jobs("limit", "mail", "none") == "The queue mail has no limit. It was 3.\n"
    assert "may run" not in jobs("stats")
    assert state_of(running) == State.RUNNING


def test_what_runs_already_counts_when_a_limit_is_set(db: None) -> None:
    for _ in range(3):
        a_job("running")
    jobs("limit", "mail", "2")
    assert set(Job.objects.values_list("slot", flat=True)) == {3, 4, 5}
    Job.objects.filter(slot__in=[4, 5]).update(
        state="succeeded", finished_at=timezone.now(), worker=None, deadline_at=None
    )
    jobs("limit", "mail", "2")
    a_job()
    assert run_jobs() == 1  # in slot 1 or 2, beside the one in slot 3


# --- Two releases --------------------------------------------------------------------------------


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
