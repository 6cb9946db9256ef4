"""What Prometheus gets from `/metrics`: from tables that a test fills, and with a million jobs."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from prometheus_client.parser import text_string_to_metric_families

from reliable.probes import mutes

JOBS = """
INSERT INTO reliable_job (id, task, queue, run_at, state, priority, published_at, finished_at)
SELECT
    gen_random_uuid(), 'some.task', %(queue)s, now() - %(ago)s * interval '1 second', %(state)s,
    number %% 10, CASE WHEN %(published)s THEN now() END,
    CASE WHEN %(state)s IN ('failed', 'succeeded') THEN now() END
FROM generate_series(1, %(count)s) AS number
"""


def _jobs(
    count: int, state: str, *, queue: str = "mail", ago: float = 60, published: bool = False
) -> None:
    values: dict[str, Any] = {
        "count": count,
        "state": state,
        "queue": queue,
        "ago": ago,
        "published": published,
    }
    with connection.cursor() as cursor:
        cursor.execute(JOBS, values)


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _scrape(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name of the sample and the values of its labels, in the order of their names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith("text/plain; version=")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[
                tuple(value for _, value in sorted(sample.labels.items()))
            ] = sample.value
    return found


@pytest.mark.django_db
def test_it_counts_what_waits_runs_and_failed_by_queue(client: Client) -> None:
    _jobs(7, "waiting", ago=60)
    _jobs(5, "waiting", ago=90, published=True)
    _jobs(3, "waiting", ago=-600)
    _jobs(2, "failed")
    _jobs(4, "succeeded")
    _jobs(1, "failed", queue="no longer declared")
    found = _scrape(client)
    jobs = found["reliable_queue_jobs"]
    assert [jobs["mail", each] for each in ("waiting", "scheduled", "running", "failed")] == [
        12,
        3,
        0,
        2,
    ]
    assert jobs["no longer declared", "failed"] == 1
    assert jobs["critical", "waiting"] == 0
    assert 90 <= found["reliable_queue_oldest_waiting_seconds"]["mail",] < 100
    assert found["reliable_queue_oldest_waiting_seconds"]["critical",] == 0
    assert found["reliable_queue_finished_per_minute"]["mail",] == 6
    assert found["reliable_queue_promise_seconds"]["warn", "mail"] == 30


@pytest.mark.django_db
def test_counting_stops(client: Client) -> None:
    _jobs(10_500, "waiting")
    _jobs(10_500, "waiting", ago=-60)
    _jobs(10_500, "succeeded")
    found = _scrape(client)
    assert found["reliable_queue_jobs"]["mail", "waiting"] == 10_000
    assert found["reliable_queue_jobs"]["mail", "scheduled"] == 10_000
    assert found["reliable_queue_finished_per_minute"]["mail",] >= 10_000


@pytest.mark.django_db
def test_it_says_what_probes_know(client: Client) -> None:
    _execute(
        """
        INSERT INTO reliable_probe_target
            (kind, name, state, seen_at, sent_at, returned_at, latency, sent, returned, lost,
            buckets, latency_sum, waiting, release, report)
        VALUES
            ('beat', 'beat', 'ok', now(), NULL, NULL, NULL, 0, 0, 0, '{}', 0, NULL, 'r1', '{}'),
            ('queue', 'mail', 'ok', NULL, now(), now() - interval '3 s', 0.2, 9, 8, 1,
            '{0,0,5,3}', 1.5, 4, 'r1', '{}'),
            ('worker', 'mail@a', 'ok', now(), now(), now(), 0.1, 2, 2, 0, '{}', 0, 0, 'r1',
            '{"slots": 2, "queues": ["mail"], "reading": ["mail"],
            "running": [["some.task", "id", 7.5, 60]]}'),
            ('relay', 'a:1', 'ok', now() - interval '2 s', NULL, NULL, NULL, 0, 0, 0, '{}', 0,
            NULL, 'r1', '{}')
        """
    )
    mutes.mute(60, by="test", why="deploy")
    found = _scrape(client)
    states = {key: value for key, value in found["reliable_probe_state"].items() if value}
    assert states == {
        ("beat", "ok", "beat"): 1,
        ("queue", "ok", "mail"): 1,
        ("worker", "ok", "mail@a"): 1,
        ("relay", "ok", "a:1"): 1,
    }
    assert found["reliable_up"] == {(): 1}
    assert found["reliable_muted"] == {(): 1}
    assert "reliable_probe_failing" not in found
    assert found["reliable_probe_last_latency_seconds"]["queue", "mail"] == 0.2
    assert 3 <= found["reliable_probe_since_return_seconds"]["queue", "mail"] < 10
    assert found["reliable_probe_sent_total"]["queue", "mail"] == 9
    assert found["reliable_probe_lost_total"]["queue", "mail"] == 1
    assert found["reliable_list_messages"] == {("mail", "mail"): 4}
    assert found["reliable_probe_latency_seconds_count"] == {("mail", "mail"): 8}
    assert found["reliable_probe_latency_seconds_bucket"]["0.25", "mail", "mail"] == 5
    assert found["reliable_worker_slots"] == {("mail@a",): 2}
    assert found["reliable_worker_slots_busy"] == {("mail@a",): 1}
    assert found["reliable_worker_oldest_task_seconds"] == {("mail@a",): 7.5}
    assert found["reliable_worker_info"] == {("r1", "mail@a"): 1}
    assert 2 <= found["reliable_relay_since_report_seconds"]["a:1", "r1"] < 10
    assert found["reliable_beat_since_tick_seconds"][()] < 10
    assert "reliable_schedule_missed_total" in found


@pytest.mark.django_db
def test_where_beat_never_ticked_it_says_so(client: Client) -> None:
    found = _scrape(client)
    assert found["reliable_up"] == {(): 0}
    assert found["reliable_probe_failing"] == {("beat", "beat", "silent", "beat"): 1}


@pytest.mark.django_db
@override_settings(RELIABLE_HEALTH={"token": "right"})
def test_strangers_get_no_metrics(client: Client) -> None:
    stranger: dict[str, Any] = {"REMOTE_ADDR": "203.0.113.9"}
    assert client.get("/metrics", **stranger).status_code == 403
    answer = client.get("/metrics", **stranger, headers={"authorization": "Bearer right"})
    assert answer.status_code == 200


@pytest.mark.django_db
def test_names_are_conventional(client: Client) -> None:
    for line in client.get("/metrics").content.decode().splitlines():
        if match := re.match(r"# (?:HELP|TYPE) (\S+)", line):
            assert re.fullmatch(r"reliable_[a-z_]+", match[1]), line
