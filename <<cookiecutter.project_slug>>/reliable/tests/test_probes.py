"""What is asked, noted and said, without workers: questions in the broker, answers in the table."""

import itertools
import logging
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import override_settings

from reliable import provider
from reliable.probes import beat, watch
from reliable.probes.database import Session
from reliable.probes.diagnosis import Verdict
from reliable.probes.health import health
from reliable.probes.models import Sample, Target, Transition, Watch
from reliable.probes.options import BUCKETS, options
from reliable.probes.sentences import seconds
from reliable.probes.states import ALARMS, FAILING, Hop, Kind, State
from reliable.probes.tasks import PROBE, probe
from reliable.probes.watch import Change, changed
from reliable.queues import declared, read_by_workers
from reliable.testing.system import System
from reliable.tests import watched


@pytest.fixture(autouse=True)
def _own_connections(request: pytest.FixtureRequest) -> Any:
    """Beat's, of this process, which outlive a test's database and broker."""
    yield
    beat.close()


def _answer(name: str = "mail") -> None:
    probe.apply(task_id=str(Target.objects.get(name=name).token))


# --- Asking --------------------------------------------------------------------------------------


def test_each_list_that_workers_read_is_asked_by_an_ordinary_message(system: System) -> None:
    beat.tick()
    lists = read_by_workers(declared())
    assert sorted(Target.objects.filter(kind="queue").values_list("name", flat=True)) == sorted(
        lists
    )
    for name in declared():
        assert system.waiting(name) == 1
    with system.servers.broker.client(system.broker_database) as client:
        # Where jobs of the usual priority wait.
        assert client.llen("mail.jobs\x06\x163") == 1
        assert b"reliable.probes.probe" in client.lindex("mail", 0)


def test_nobody_is_asked_again_while_he_is_waited_for(system: System) -> None:
    for _ in range(3):
        beat.tick()
    assert system.waiting("mail") == 1
    target = Target.objects.get(name="mail")
    assert (target.sent, target.returned, target.waiting) == (1, 0, 1)


def test_an_answer_is_noted_once_with_who_gave_it_and_how_long_it_took(system: System) -> None:
    beat.tick()
    token = str(Target.objects.get(name="mail").token)
    probe.apply(task_id=token)
    probe.apply(task_id=token)
    target = Target.objects.get(name="mail")
    assert (target.sent, target.returned, target.lost, target.token) == (1, 1, 0, None)
    assert target.pid
    assert target.latency is not None
    assert target.latency >= 0
    assert sum(target.buckets) == 1
    assert len(target.buckets) == len(BUCKETS) + 1
    assert Sample.objects.get().target == target
    beat.tick()
    assert Target.objects.get(name="mail").sent == 2


def test_a_probe_that_waits_in_its_list_is_not_given_up(system: System) -> None:
    beat.tick()
    _age("mail", seconds=500)  # expired: critical is 120
    beat.tick()
    target = Target.objects.get(name="mail")
    assert (target.sent, target.lost) == (1, 0)
    assert system.waiting("mail") == 1


def test_a_probe_that_is_in_no_list_any_more_is_lost_and_repeated(system: System) -> None:
    beat.tick()
    system.servers.broker.flush(system.broker_database)
    _age("mail", seconds=500)
    beat.tick()
    target = Target.objects.get(name="mail")
    assert (target.sent, target.lost, target.lost_in_row) == (2, 1, 1)
    assert system.waiting("mail") == 1
    _answer()
    assert Target.objects.get(name="mail").lost_in_row == 0


@pytest.mark.parametrize(("after", "lost"), [(10, 0), (20, 1)])
def test_a_probe_that_no_worker_has_is_repeated_before_it_is_late(
    system: System, after: float, lost: int
) -> None:
    """As after a restart of the broker, which is no reason to wake somebody."""
    beat.tick()
    Target.objects.create(
        kind="worker",
        name="mail-a@here",
        report={"queues": ["mail"], "reading": ["mail"], "slots": 2},
        seen_at=_from_now(0),
    )
    system.servers.broker.flush(system.broker_database)
    _age("mail", seconds=after)  # warn is 30
    beat.tick()
    assert Target.objects.get(name="mail").lost == lost


@override_settings(QUEUES={"default": declared()["default"]})
def test_a_queue_that_is_no_longer_declared_is_no_longer_watched(system: System) -> None:
    Target.objects.create(kind="queue", name="gone", waiting=3)
    beat.tick()
    assert Target.objects.get(name="gone").retired_at is not None
    assert Target.objects.filter(kind="queue", retired_at__isnull=True).count() == 2


def test_a_worker_that_fell_silent_long_ago_is_forgotten_and_its_list_emptied(
    system: System,
) -> None:
    Target.objects.create(
        kind="worker", name="mail-a@gone", report={"queues": ["mail"], "slots": 2}
    )
    Target.objects.filter(kind="worker").update(seen_at=_from_now(-100))
    beat.tick()
    assert system.waiting("mail-a@gone.dq2") == 1
    Target.objects.filter(kind="worker").update(seen_at=_from_now(-4000))
    beat.tick()
    assert Target.objects.get(kind="worker").retired_at is not None
    assert system.waiting("mail-a@gone.dq2") == 0


def test_whoever_calls_the_entry_ticks_and_sends_no_message_of_its_own(system: System) -> None:
    tick: Any = current_app.tasks["reliable.probes.tick"]
    assert tick.apply_async().id
    assert Target.objects.get(kind="beat").seen_at is not None
    assert system.waiting("default") == 1
    with system.servers.broker.client(system.broker_database) as client:
        assert b"probes.tick" not in client.lindex("default", 0)


# --- Saying --------------------------------------------------------------------------------------


def test_a_change_is_noted_logged_and_signalled_once_and_a_healthy_probe_not_at_all(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    heard: list[Change] = []

    def hear(changes: list[Change], **_: Any) -> None:
        heard.extend(changes)

    changed.connect(hear)
    try:
        beat.tick()
        for name in read_by_workers(declared()):
            _answer(name)
        _judge()
        lines = [record for record in caplog.records if record.name.startswith("reliable.probes")]
        assert len(lines) == len(heard) == 9  # beat, and eight lists: unknown to ok
        assert not any(change.alarm for change in heard)
        heard.clear()
        caplog.clear()
        for _ in range(3):
            beat.tick()
            for name in read_by_workers(declared()):
                _answer(name)
            _judge()
        assert [
            record for record in caplog.records if record.name.startswith("reliable.probes")
        ] == []
        beat.tick()
        _age("mail", seconds=121)
        _judge()
        _judge()
        assert [(each.target.name, each.before, each.verdict.state) for each in heard] == [
            ("mail", "ok", "silent")
        ]
        assert heard[0].alarm
        assert (
            len([each for each in caplog.records if each.name.startswith("reliable.probes")]) == 1
        )
        assert Transition.objects.filter(alarm=True).count() == 1
    finally:
        changed.disconnect(hear)


def test_a_question_that_may_not_have_left_blames_beat_and_no_queue(system: System) -> None:
    beat.tick()
    _answer()
    _judge()
    beat.tick()
    _long_watched()
    # Beat was killed between the note and the message.
    Target.objects.filter(kind="beat").update(returned_at=_from_now(-300))
    _judge()
    assert Target.objects.get(name="mail").state == "ok"  # it is early yet
    _age("mail", seconds=121)
    Target.objects.filter(kind="beat").update(seen_at=_from_now(-122))
    _judge()
    mail, ticked = Target.objects.get(name="mail"), Target.objects.get(kind="beat")
    assert (mail.state, mail.hop) == ("unknown", "beat")
    assert (ticked.state, ticked.hop) == ("silent", "beat")
    assert not Transition.objects.filter(target=mail, alarm=True)


@pytest.mark.parametrize(("reading", "hop"), [(["mail"], Hop.BEAT), ([], Hop.BROKER)])
def test_a_beat_that_may_be_waiting_for_the_broker_is_not_blamed(
    db: None, reading: list[str], hop: Hop
) -> None:
    # Celery's own does not tick before it has reached the broker once.
    watched.healthy()
    watched.beat_dead()
    for target in Target.objects.filter(kind="worker"):
        target.report["reading"] = reading
        target.save()
    [(_, verdict)] = health().of(Kind.BEAT)
    assert (verdict.state, verdict.hop) == (State.SILENT, hop)


def test_a_receiver_that_fails_stops_neither_the_others_nor_the_watch(system: System) -> None:
    def fail(**_: Any) -> None:
        raise ValueError("no mail server")

    changed.connect(fail)
    try:
        beat.tick()
        _answer()
        _judge()
    finally:
        changed.disconnect(fail)
    assert Target.objects.get(name="mail").state == "ok"


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_who_is_told_of_which_change(before: State, after: State) -> None:
    told = before in ALARMS.get(after, set())
    if before == after or after in {State.PAUSED, State.UNKNOWN}:
        assert not told
    elif after in FAILING:
        assert told
    elif after == State.LATE:
        assert told == (before not in FAILING)  # it is getting better
    else:
        assert told == (before in {State.LATE, *FAILING})


# --- Refusing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"intervall": 1}, "unknown option 'intervall'; the options are interval, report,"),
        ({"interval": "1"}, "interval is '1'; write seconds, for example 15."),
        ({"report": -1}, "report is -1; write seconds"),
        ({"dead": 10}, "dead is 10; with an interval of 15 and a report each 5 s it must be 27"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(said: dict[str, Any], sentence: str) -> None:
    with override_settings(RELIABLE_PROBES=said), pytest.raises(ImproperlyConfigured) as refused:
        options()
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--release", "b"], "--release needs --wait SECONDS."),
        (["--wait", "0"], "--wait takes seconds"),
        (["--wait", "5", "--watch"], "one at a time"),
    ],
)
def test_the_command_refuses_what_cannot_be_meant(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence) as refused:
        call_command("queues", *arguments)
    assert refused.value.returncode == 2


def test_times_are_written_for_people() -> None:
    said = [seconds(each) for each in (0.04, 9.96, 42, 119, 120, 412, 3600, 7200, 11_100)]
    assert said == [
        *("0.0 s", "10 s", "42 s", "119 s", "2 min", "6 min 52 s", "60 min", "2 h", "3 h 5 min")
    ]


def test_a_verdict_without_a_hop_is_well() -> None:
    assert not Verdict(State.OK, "fine").failing
    assert Verdict(State.UNSENT, "no", Hop.BROKER).failing


def test_the_endpoints_import_no_celery() -> None:
    code = (
        "import sys, django\n"
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=[])\n"
        "import reliable.probes.views\n"
        "sys.exit('celery' in sys.modules or 'kombu' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_jobs_answer_for_themselves(system: System) -> None:
    source = provider.registered()
    assert source is not None
    assert source.paused() == {}
    source.pause("mail", by="ops", why="the provider is down", seconds=60)
    assert source.paused()["mail"].by == "ops"
    assert "by ops (the provider is down)" in watch.paused()["mail"]
    source.resume("mail", by="ops")
    assert source.paused() == {}
    assert not any((source.relays(), source.running(), source.failed(), source.queues()))
    assert PROBE not in [entry.task for entry in source.schedule()]


# --- Means ---------------------------------------------------------------------------------------


def _from_now(seconds_from_now: float) -> Any:
    return Now() + timedelta(seconds=seconds_from_now)


def _age(name: str, seconds: float) -> None:
    """Let the target have been asked so long ago, and all have been watched for longer."""
    Target.objects.filter(name=name).update(
        sent_at=_from_now(-seconds), asked_at=_from_now(-seconds)
    )
    _long_watched()


def _long_watched() -> None:
    Watch.objects.update(since=_from_now(-10_000))


def _judge() -> None:
    """At once, whoever has judged a moment ago."""
    Watch.objects.update(judged_at=_from_now(-10))
    session = Session()
    try:
        watch.judge(session, options())
    finally:
        session.close()
