"""What operators see of the schedule and change, by command and in the admin."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from reliable.jobs.models import Beat, Job, Schedule
from reliable.jobs.schedule import operations, sql
from reliable.jobs.schedule.health import last_beat
from reliable.schedule import Entry
from reliable.tests.ticked import HOUR, NOTE, dues, schedule, ticker

pytestmark = pytest.mark.django_db


# --- What operators do ---------------------------------------------------------------------------


@pytest.fixture
def declared(settings: Settings) -> dict[str, Entry]:
    settings.SCHEDULE = schedule()
    ticker(settings.SCHEDULE).round()
    return schedule()


def command(*arguments: str, expect: int = 0) -> Any:
    """What `manage.py schedule ... --json` answers; or says, if it is refused."""
    out, status = StringIO(), 0
    try:
        call_command("schedule", *arguments, "--json", stdout=out)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except CommandError as error:
        status = error.returncode
        out = StringIO(json.dumps(str(error)))
    assert status == expect
    return json.loads(out.getvalue())


def test_a_paused_entry_does_not_tick_and_goes_on_without_what_it_slept_through(
    declared: dict[str, Entry],
) -> None:
    assert command("pause", "entry", "--by", "ann")["paused"] is True
    Schedule.objects.update(last_due=datetime.now(UTC) - 5 * HOUR)
    ticker(declared).round()
    assert dues() == []
    [listed] = command("list")["entries"]
    assert (listed["paused_by"], listed["next"]) == ("ann", None)
    assert command("resume", "entry")["was_paused_since"]
    ticker(declared).round()
    row = Schedule.objects.get()
    assert (dues(), row.missed, row.paused_at, row.paused_by) == ([], 0, None, "")
    assert command("resume", "entry")["was_paused_since"] is None


def test_an_entry_can_be_paused_before_its_first_beat(settings: Settings) -> None:
    settings.SCHEDULE = schedule()
    operations.pause("entry", by="ann")
    ticker(settings.SCHEDULE).round()
    assert Schedule.objects.get().paused_by == "ann"


def test_an_entry_is_run_now_beside_its_ticks(declared: dict[str, Entry]) -> None:
    operations.pause("entry", by="ann")
    before = Schedule.objects.get()
    answer = command("run", "entry")
    assert [str(job.id) for job in Job.objects.all()] == [answer["job"]]
    assert Job.objects.get().headers["schedule"] == "entry"
    after = Schedule.objects.get()
    assert (after.last_due, after.last_tick) == (before.last_due, None)


@pytest.mark.parametrize("operation", ["pause", "resume", "run"])
def test_an_entry_that_does_not_exist_is_refused_by_name(
    declared: dict[str, Entry], operation: str
) -> None:
    assert "no entry 'typo'; there are: entry" in command(operation, "typo", expect=2)


def test_the_list_says_what_is_overdue_and_whether_a_beat_lives(
    declared: dict[str, Entry],
) -> None:
    answer = command("list")
    assert answer["beat"]["seconds"] < 5
    assert answer["entries"][0]["next"] > datetime.now(UTC).isoformat()
    Schedule.objects.update(last_due=datetime.now(UTC) - 5 * HOUR)
    Beat.objects.update(seen_at=datetime.now(UTC) - HOUR)
    answer = command("list", expect=1)
    assert answer["entries"][0]["overdue_since"]
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("schedule", "list", stdout=out)
    assert "overdue since" in out.getvalue()
    assert "Nothing ticks: beat was last seen 1 h ago" in out.getvalue()


def test_when_a_beat_was_last_seen_is_known_after_all_have_stopped(
    declared: dict[str, Entry],
) -> None:
    beat = ticker(declared)
    beat.round()
    found = last_beat()
    assert found
    assert (found.stopped_at, found.seconds < 5) == (None, True)
    beat.presence.stop()
    found = last_beat()
    assert found
    assert found.stopped_at


# --- The admin -----------------------------------------------------------------------------------


def client_with(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("ann", password="x", is_staff=True)
    for name in permissions:
        user.user_permissions.add(Permission.objects.get(codename=name))
    client = Client(headers={"X-Forwarded-Proto": "https"})
    client.force_login(user)
    return client


LIST = "admin:reliable_jobs_schedule_changelist"


def act(client: Client, action: str) -> Any:
    data = {"action": action, "_selected_action": ["entry"]}
    return client.post(reverse(LIST), data, follow=True)


def test_the_admin_shows_entries_to_those_who_may_look_and_lets_them_change_nothing(
    declared: dict[str, Entry],
) -> None:
    client = client_with("view_schedule")
    page = client.get(reverse(LIST)).content.decode()
    assert NOTE in page
    assert "every 3600 s" in page
    assert "Beat was seen" in page
    assert "Run now" not in page
    act(client, "pause")
    assert Schedule.objects.get().paused_at is None
    assert (
        client.get(reverse("admin:reliable_jobs_schedule_change", args=["entry"])).status_code
        == 200
    )


def test_the_admin_hides_the_schedule_from_others(declared: dict[str, Entry]) -> None:
    assert client_with().get(reverse(LIST)).status_code == 403


def test_who_may_operate_pauses_resumes_and_runs_with_a_line_in_the_audit_log(
    declared: dict[str, Entry],
) -> None:
    client = client_with("operate_schedule")
    assert "Entry: paused." in act(client, "pause").content.decode()
    assert Schedule.objects.get().paused_by == "ann"
    act(client, "resume")
    assert Schedule.objects.get().paused_at is None
    act(client, "run_now")
    job = Job.objects.get()
    said = [line.get_change_message() for line in LogEntry.objects.order_by("id")]
    assert said == ["Paused.", "Resumed.", f"Run now: job {job.id}."]
    assert LogEntry.objects.filter(object_id="entry", user__username="ann").count() == 3


def test_the_statements_need_no_table_but_the_small_ones(declared: dict[str, Entry]) -> None:
    with connection.cursor() as cursor:
        for statement in (sql.ENTRIES, sql.LAST_BEAT):
            cursor.execute(f"EXPLAIN {statement}")
            assert "reliable_job" not in str(cursor.fetchall())
