"""The endpoints and `manage.py queues`, on real processes and with servers that are down."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings
from pytest_django import DjangoAssertNumQueries

from reliable.probes.models import Target
from reliable.testing.processes import end_all
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests.probed import Probed

_ALL = ["critical", "mail", "slow", "default"]
_LISTS = [each for name in _ALL for each in (name, f"{name}.jobs")]


def _command(system: System, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "queues", *arguments],
        cwd=settings.SUPERVISOR["directory"],
        env=system.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _document(system: System) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(system.get("/health/queues").text)
    return document


def test_a_healthy_system_says_so(system: System) -> None:
    probed = Probed(system)
    probed.worker("mail", reads=_ALL)
    system.beat()
    system.relay()
    system.web()
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    wait_until(lambda: system.get("/health/queues").status == 200, "all to be well")
    document = _document(system)
    assert document["status"] == "ok"
    assert document["why"] == "Beat ticks, and all 8 lists answer in time."
    assert [each["name"] for each in document["queues"]] == sorted(_LISTS)
    # But for the moment in which a probe runs.
    wait_until(
        lambda: [each["busy"] for each in _document(system)["workers"]] == [0],
        "an idle worker",
    )
    # Who looks after the lists need not have seen the relay yet.
    wait_until(
        lambda: [each["state"] for each in _document(system)["relays"]] == ["ok", "ok"],
        "the relay",
    )
    assert system.get("/healthz") == (200, '{"status": "ok"}')
    assert json.loads(system.get("/readyz").text) == {
        "status": "ok",
        "database": "ok",
        "migrations": "ok",
        "cache": "ok",
    }
    metrics = system.get("/metrics").text
    assert "\nreliable_up 1.0\n" in metrics
    assert "reliable_probe_failing{" not in metrics
    assert re.search(r'reliable_worker_slots\{worker="mail-a@[^"]+"\} 2.0', metrics)
    status, text = _command(system)
    assert status == 0, text
    assert text.startswith("Beat ticks, and all 8 lists answer in time.")
    status, text = _command(system, "--json")
    assert (status, json.loads(text)["status"]) == (0, "ok")


@pytest.mark.own_servers
def test_the_state_of_queues_is_known_while_redis_is_down(system: System) -> None:
    probed = Probed(system)
    probed.worker("mail", reads=_ALL)
    system.beat()
    system.web()
    probed.wait_until_well("beat", *_LISTS)
    # Celery's own beat waits for a broker that is away when its first entry is due.
    wait_until(lambda: Target.objects.get(name="mail").returned > 1, "a tick of the schedule")
    system.servers.processes["broker"].kill()
    system.servers.processes["cache"].kill()

    def lists() -> list[Any]:
        found: list[Any] = json.loads(system.get("/health/queues/mail").text)["queues"]
        return found

    # Each of them is sent to in a moment of its own.
    wait_until(lambda: {each["state"] for each in lists()} == {"unsent"}, "the broker to be missed")
    assert system.get("/health/queues").status == 503
    for each in lists():
        assert (each["state"], each["hop"], each["waiting"]) == ("unsent", "broker", None)
        assert "could not be asked for" in each["why"]
    assert system.get("/healthz").status == 200
    ready = system.get("/readyz")
    assert ready.status == 503
    assert json.loads(ready.text)["cache"].startswith("The cache does not answer")
    assert json.loads(ready.text)["database"] == "ok"
    assert _command(system)[0] == 2
    metrics = system.get("/metrics")
    assert metrics.status == 200
    failing = 'reliable_probe_failing{hop="broker",kind="queue",state="unsent",target="mail"} 1.0'
    assert failing in metrics.text
    assert "reliable_list_messages{" not in metrics.text


@pytest.mark.own_servers
def test_without_postgresql_all_but_healthz_say_503_and_show_no_stack(system: System) -> None:
    Probed(system)
    system.web()
    wait_until(lambda: system.get("/readyz").status == 200, "the web process to be ready")
    postgresql = system.servers.processes["postgresql"]
    children = postgresql.children()
    postgresql.kill()
    end_all(children)  # those of the web process answer until they find it dead
    for path in ("/readyz", "/health/queues", "/health/queues/mail", "/metrics"):
        answer = system.get(path)
        assert answer.status == 503, answer
        assert "The database does not answer" in answer.text
        assert "Traceback" not in answer.text
        assert json.loads(answer.text)["status"] == "failing"
    assert system.get("/healthz").status == 200
    status, text = _command(system)
    assert status == 2
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"REMOTE_ADDR": "203.0.113.9"}, 403),
        ({"REMOTE_ADDR": "203.0.113.9", "HTTP_AUTHORIZATION": "Bearer wrong"}, 403),
        ({"REMOTE_ADDR": "203.0.113.9", "HTTP_AUTHORIZATION": "Bearer right"}, 503),
        ({"REMOTE_ADDR": "10.1.2.3"}, 503),
        ({"REMOTE_ADDR": "::ffff:10.1.2.3"}, 503),
        # Through a proxy on a unix socket, then through one on loopback.
        ({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, 403),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1, 203.0.113.9"}, 403),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9, 10.0.0.1"}, 503),
        # A stranger's header is no proxy's.
        ({"REMOTE_ADDR": "203.0.113.9", "HTTP_X_FORWARDED_FOR": "10.0.0.1"}, 403),
        ({"REMOTE_ADDR": "nonsense"}, 403),
    ],
)
@pytest.mark.django_db
@override_settings(RELIABLE_HEALTH={"token": "right"})
def test_strangers_are_refused(client: Client, headers: dict[str, Any], status: int) -> None:
    assert client.get("/health/queues", **headers).status_code == status
    assert client.get("/healthz", **headers).status_code == 200


@pytest.mark.django_db
@override_settings(RELIABLE_HEALTH={"token": ""})
def test_an_empty_token_opens_nothing(client: Client) -> None:
    answer = client.get(
        "/health/queues", REMOTE_ADDR="203.0.113.9", headers={"authorization": "Bearer "}
    )
    assert answer.status_code == 403


@pytest.mark.django_db
def test_where_beat_has_never_ticked_nothing_is_well(client: Client) -> None:
    answer = client.get("/health/queues")
    assert answer.status_code == 503
    assert answer.json()["why"] == "beat has never ticked."


@pytest.mark.django_db
def test_a_queue_that_nobody_declared_is_not_found(client: Client) -> None:
    answer = client.get("/health/queues/mial")
    assert answer.status_code == 404
    assert answer.json()["why"] == "No queue 'mial' is watched; there are none."


def test_healthz_touches_nothing(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries, db: None
) -> None:
    with django_assert_num_queries(0):
        assert client.get("/healthz").status_code == 200


@pytest.mark.django_db
def test_health_asks_two_questions_of_the_database(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):
        answer = client.get("/health/queues")
    assert answer.json()["queues"] == []
