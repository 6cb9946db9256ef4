"""Each hot statement reads a few pages of a million rows, whatever stands before what it looks for.

What is counted is pages, not time: machines differ.
"""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from reliable.jobs import browse, sql, sql_counts, tally
from reliable.jobs.browse import Search
from reliable.jobs.selection import Selection
from reliable.jobs.states import State
from reliable.testing.servers import Servers
from reliable.testing.system import connected_to

ROWS = int(os.environ.get("ROWS", "1000000"))
COMPLETED = ROWS // 5

WORKER = uuid.uuid4()
LEVELS = list(range(9, -1, -1))
START = datetime(1, 1, 1, tzinfo=UTC)
NIL = uuid.UUID(int=0)

# Half of the jobs of the future are more urgent than any other.
FILL = """
INSERT INTO reliable_job (id, task, queue, args, state, run_at, priority, finished_at, expires_at)
SELECT
    gen_random_uuid(), 'some.task', 'default', '[1]',
    CASE WHEN n %% 10 = 0 THEN 'succeeded' ELSE 'waiting' END,
    now() + CASE WHEN n %% 10 = 1 THEN interval '1 day' ELSE n * interval '-1 microsecond' END,
    CASE WHEN n %% 20 = 1 THEN 9 ELSE 5 END,
    CASE WHEN n %% 10 = 0 THEN now() - n * interval '1 second' END,
    CASE WHEN n %% 100 = 3 THEN now() + interval '1 hour' END
FROM generate_series(1, %s) AS n
"""

# What happens to a job, without its body: published, claimed, finished.
COMPLETE = [
    """
    UPDATE reliable_job SET published_at = now() WHERE id IN (
        SELECT id FROM reliable_job
        WHERE state = 'waiting' AND published_at IS NULL AND queue = 'default' AND priority = 5
            AND run_at <= now()
        ORDER BY run_at, id LIMIT %(count)s
    )
    """,
    """
    UPDATE reliable_job SET state = 'running', worker = %(worker)s, deadline_at = now(),
        started_at = now(), claim_no = 1, published_at = NULL
    WHERE state = 'waiting' AND published_at IS NOT NULL
    """,
    """
    UPDATE reliable_job SET state = 'succeeded', worker = NULL, deadline_at = NULL,
        finished_at = now()
    WHERE state = 'running'
    """,
]


class Database:
    """A million jobs, and how many pages a statement reads there."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.connection = psycopg.connect(url, autocommit=True)

        # Its ANALYZE comes at any moment, also when a fifth of all jobs run, as they do nowhere but
        # here; what is planned by that is not what is tested.
        self.execute("ALTER TABLE reliable_job SET (autovacuum_enabled = false)")

    def execute(self, statement: str, parameters: Any = None) -> None:
        self.connection.execute(statement.encode(), parameters)

    def plan(self, statement: str, parameters: Any) -> tuple[int, set[str]]:
        """Pages read, and the names of what was scanned; what the statement did is rolled back."""
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}".encode()
        with self.connection.transaction(force_rollback=True):
            found = self.connection.execute(explain, parameters).fetchone()
        plans = found[0] if found else []
        [top] = json.loads(plans) if isinstance(plans, str) else plans
        names: set[str] = set()
        _walk(top["Plan"], names)
        return top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"], names


def _walk(node: dict[str, Any], names: set[str]) -> None:
    if "Scan" in node["Node Type"] and node.get("Relation Name") == "reliable_job":
        names.add(node.get("Index Name", f"{node['Node Type']} on reliable_job"))
    elif "Index Name" in node:
        names.add(node["Index Name"])
    for child in node.get("Plans", ()):
        _walk(child, names)


@pytest.fixture(scope="module")
def million(servers: Servers, database_template: str) -> Iterator[Database]:
    name = f"million_{uuid.uuid4().hex}"
    servers.clone_database(database_template, name)
    database = Database(servers.postgresql.url(name), name)
    database.execute(FILL, [ROWS])
    # Of its limit, the statements read the queue's row and what runs.
    database.execute("INSERT INTO reliable_queue (name, \"limit\") VALUES ('default', 3)")
    database.execute("VACUUM ANALYZE reliable_job")
    yield database
    database.connection.close()
    servers.drop_database(name)


def publish(after: tuple[datetime, uuid.UUID] = (START, NIL)) -> dict[str, Any]:
    return {
        "queue": "default",
        "levels": LEVELS,
        "run_ats": [after[0]] * len(LEVELS),
        "ids": [after[1]] * len(LEVELS),
        "limit": 100,
    }


def some_job(database: Database) -> dict[str, Any]:
    found = database.connection.execute(
        "SELECT id FROM reliable_job WHERE state = 'waiting' AND run_at < now() LIMIT 1"
    ).fetchone()
    assert found
    return {
        "id": found[0],
        "ids": [found[0]],
        "claim_nos": [0],
        "claim_no": 0,
        "worker": WORKER,
        "margin": 15,
        "release": "a",
        "pooled": False,
        "result": "1",
        "data": "1",
        "reason": "no",
        "outcome": "failed",
        "counted": True,
        "error": "",
        "traceback": "",
        "exception": "ValueError",
        "place": "orders.tasks.ship",
        "delay": None,
        "final": None,
        "suspect": False,
        "solo": False,
        "task": "some.task",
        "kill_after": 5,
        "results": "[1]",
    }


BY_KEY = {
    "CLAIM": sql.CLAIM,
    "CLAIM_BATCH": sql.CLAIM_BATCH,
    "FINISH": sql.FINISH,
    "FINISH_LIMITED": sql.FINISH_LIMITED,
    "REFUSED": sql.REFUSED,
    "FINISH_BATCH": sql.FINISH_BATCH,
    "CHECKPOINT": sql.CHECKPOINT,
    "PROGRESS": sql.PROGRESS,
    "GIVE_BACK": sql.GIVE_BACK,
    "UNPUBLISH": sql.UNPUBLISH,
    "OFFER_NOW": sql.OFFER_NOW,
    "CANCEL": sql.CANCEL,
    "RETRY": sql.RETRY,
}


@pytest.mark.parametrize("name", BY_KEY)
def test_what_concerns_one_job_reads_its_row_by_the_primary_key(
    million: Database, name: str
) -> None:
    pages, scanned = million.plan(BY_KEY[name], some_job(million))
    assert {each for each in scanned if each.startswith("reliable_job")} <= {
        "reliable_job_pkey",
        "reliable_job_running",
        "reliable_job_one_suspect",
        "reliable_job_slot",
    }
    assert "reliable_job_pkey" in scanned
    assert pages < 100, scanned


BY_INDEX = {
    "PUBLISH": (sql.PUBLISH, publish(), "reliable_job_due", 3000),
    "OFFER_AGAIN": (
        sql.OFFER_AGAIN,
        {"queue": "default", "empty": True, "limit": 100},
        "reliable_job_published",
        50,
    ),
    "BEAT": (
        sql.BEAT,
        {"worker": WORKER, "name": "a", "release": "a", "queues": ["default"], "slots": 2},
        "reliable_job_running",
        50,
    ),
    "RUNNING": (sql.RUNNING, {}, "reliable_job_running", 50),
    "ADOPT": (sql.ADOPT, {}, "reliable_job_running", 50),
    "FREE": (sql.FREE, {"queue": "default"}, "reliable_job_slot", 50),
    "EXPIRE": (sql.EXPIRE, {"limit": 100}, "reliable_job_expires", 50),
    "PURGE": (
        sql.PURGE,
        {
            "state": "succeeded",
            "seconds": 86400 * 2,
            "limit": 100,
            "tasks": [],
            "others": True,
            "after": START,
            "after_id": NIL,
        },
        "reliable_job_finished",
        3000,
    ),
}


@pytest.mark.parametrize("name", BY_INDEX)
def test_what_concerns_many_jobs_reads_its_index_and_a_few_pages(
    million: Database, name: str
) -> None:
    statement, parameters, index, most = BY_INDEX[name]
    pages, scanned = million.plan(statement, parameters)
    assert index in scanned
    assert not {each for each in scanned if "Seq Scan" in each}
    assert pages < most, scanned


# --- The admin -----------------------------------------------------------------------------------

FILL_FAILED = """
INSERT INTO reliable_job
    (id, task, queue, args, state, created_at, finished_at, exception, place, error)
SELECT
    gen_random_uuid(), 'task.' || n %% 20, 'mail', '[1]', 'failed', now() - n * interval '2 second',
    now() - n * interval '1 second', 'Error' || n %% 3, 'orders.tasks.ship', 'Error: it is away'
FROM generate_series(1, %s) AS n
"""


@pytest.fixture(scope="module")
def failures(million: Database) -> Database:
    """A hundred thousand dead letters of sixty kinds beside the million."""
    million.execute(FILL_FAILED, [ROWS // 10])
    million.execute("VACUUM ANALYZE reliable_job")
    return million


LOOKED_AT = {
    "FAILED_GROUPS": (
        sql_counts.FAILED_GROUPS,
        {"since": START, "groups": 201, "most": 10_001},
        {"reliable_job_failed"},
        40_000,
    ),
    "STATE_COUNTS": (sql_counts.STATE_COUNTS, {"most": 1001}, {"reliable_job_finished"}, 12_000),
    "FEW_RUNNING": (sql_counts.FEW_RUNNING, {"most": 2001}, {"reliable_job_running"}, 50),
    "QUEUE_LOAD": (
        sql_counts.QUEUE_LOAD,
        {"queues": ["default", "mail"], "levels": LEVELS, "most": 1001},
        {"reliable_job_due", "reliable_job_published", "reliable_job_running"},
        12_000,
    ),
    "QUEUES": (
        sql_counts.QUEUES,
        {"most": 10_000},
        {
            "reliable_job_due",
            "reliable_job_published",
            "reliable_job_running",
            "reliable_job_queue_failed",
            "reliable_job_finished",
        },
        1_500,
    ),
}


@pytest.mark.parametrize("name", LOOKED_AT)
def test_what_the_admin_counts_it_counts_in_an_index_up_to_a_limit(
    failures: Database, name: str
) -> None:
    statement, parameters, indexes, most = LOOKED_AT[name]
    pages, scanned = failures.plan(statement, parameters)
    assert indexes <= scanned, scanned
    assert pages < most, scanned
    if name == "QUEUES":
        assert "Seq Scan on reliable_job" not in scanned


NOTHING = Selection(tags=("nowhere",), queues=("nowhere",), error="nowhere")
ORDERS = {
    "all": (Selection(), Search()),
    # None runs here: there would be nothing to ask.
    **{
        str(state): (Selection(states=(state,)), Search())
        for state in State
        if state != State.RUNNING
    },
    "failed since": (Selection(states=(State.FAILED,), since=START), Search()),
    "failed of a queue and tag": (replace(NOTHING, states=(State.FAILED,)), Search()),
    "a group": (
        Selection(
            states=(State.FAILED,), tasks=("task.1",), exception="Error1", place="orders.tasks.ship"
        ),
        Search(),
    ),
    "nothing that is there": (NOTHING, Search()),
    "until": (Selection(until=START, tasks=("a",)), Search()),
    "an argument": (Selection(), Search("nowhere")),
    "an argument of failed ones": (Selection(states=(State.FAILED,)), Search("nowhere")),
    "an id": (Selection(), Search("abcdef12")),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_page_of_jobs_walks_along_an_index_for_a_stretch_at_a_time(
    failures: Database, django_db_blocker: Any, servers: Servers, name: str
) -> None:
    selection, search = ORDERS[name]
    with django_db_blocker.unblock(), connected_to(servers, failures.name):
        with CaptureQueriesContext(connection) as asked:
            page = browse.page(selection, search)
        queries = [each["sql"] for each in asked.captured_queries]
        if page.before:
            with CaptureQueriesContext(connection) as asked:
                browse.page(selection, search, page.before)
            queries += [each["sql"] for each in asked.captured_queries]
    assert queries
    for query in {re.sub(r"'[^']*'", "''", each): each for each in queries}.values():
        pages, scanned = failures.plan(query.replace("%", "%%"), [])
        assert not {each for each in scanned if "Seq Scan" in each}, query
        # A stretch of jobs, each of them on a page of its own: these ids are drawn at random.
        assert pages < browse.LONGEST * 2, (query, scanned)


# --- Dead rows ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def completed(million: Database) -> Iterator[tuple[datetime, uuid.UUID]]:
    """Hundreds of thousands of completions since a transaction began that is still open.

    PostgreSQL may clean up nothing behind them. Returns the last key that a relay took.
    """
    with contextlib.closing(psycopg.connect(million.url)) as open_one:
        open_one.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        open_one.execute("SELECT count(*) FROM reliable_queue")
        parameters = {"count": COMPLETED, "worker": WORKER}
        for statement in COMPLETE:
            million.execute(statement, parameters)
        last = million.connection.execute(
            "SELECT run_at, id FROM reliable_job WHERE claim_no = 1 ORDER BY run_at DESC, id DESC"
            " LIMIT 1"
        ).fetchone()
        assert last
        yield last[0], last[1]


def test_a_relay_passes_over_none_of_the_dead_rows_before_its_last_key(
    million: Database, completed: tuple[datetime, uuid.UUID]
) -> None:
    from_start, _ = million.plan(sql.PUBLISH, publish())
    from_last, scanned = million.plan(sql.PUBLISH, publish(completed))
    assert "reliable_job_due" in scanned
    assert from_last < 3000
    assert from_last * 5 < from_start  # which is why it looks there seldom


@pytest.mark.parametrize("name", BY_KEY)
def test_what_concerns_one_job_costs_the_same_behind_an_open_transaction(
    million: Database, completed: tuple[datetime, uuid.UUID], name: str
) -> None:
    pages, scanned = million.plan(BY_KEY[name], some_job(million))
    assert "reliable_job_pkey" in scanned
    assert pages < 100, scanned


@pytest.fixture(scope="module")
def kept(servers: Servers, database_template: str) -> Iterator[Database]:
    """A million finished jobs of a task that are kept for a year, and a thousand of another."""
    name = f"kept_{uuid.uuid4().hex}"
    servers.clone_database(database_template, name)
    database = Database(servers.postgresql.url(name), name)
    database.execute(
        """
        INSERT INTO reliable_job
            (id, task, queue, state, run_at, started_at, finished_at)
        SELECT gen_random_uuid(), task, 'default', 'succeeded', at, at, at
        FROM (
            SELECT 'kept.task' AS task, now() - random() * interval '300 days' AS at
            FROM generate_series(1, %s)
            UNION ALL
            SELECT 'some.task', now() - interval '1 day' - n * interval '1 minute'
            FROM generate_series(1, 1000) AS n
        ) AS ended
        """,
        [ROWS],
    )
    database.execute("VACUUM ANALYZE reliable_job")
    yield database
    database.connection.close()
    servers.drop_database(name)


def walk_of(database: Database, tasks: list[str], *, others: bool) -> tuple[int, int]:
    """Walk to the end as a relay does; return the most pages of a step, and the number of steps."""
    key, most, steps = (START, NIL), 0, 0
    while True:
        parameters = {
            "state": "succeeded",
            "seconds": 86400,
            "limit": 500,
            "tasks": tasks,
            "others": others,
            "after": key[0],
            "after_id": key[1],
        }
        if steps % 200 == 0:
            pages, scanned = database.plan(sql.PURGE, parameters)
            assert not {each for each in scanned if "Seq Scan" in each}
            most = max(most, pages)
        found = database.connection.execute(sql.PURGE.encode(), parameters).fetchone()
        steps += 1
        if found is None or found[2] < 500:
            return most, steps
        key = found[0], found[1]


def test_what_is_kept_is_passed_once_in_small_steps(kept: Database) -> None:
    most, steps = walk_of(kept, ["kept.task"], others=True)
    assert most < 10_000
    assert steps <= (ROWS + 1000) // 500 + 1
    left = kept.connection.execute(
        "SELECT task, count(*) FROM reliable_job GROUP BY task"
    ).fetchall()
    assert left == [("kept.task", ROWS)]


def test_the_tally_reads_what_ended_in_its_time_and_nothing_else(kept: Database) -> None:
    window = {"mark": datetime(2001, 1, 1, tzinfo=UTC), "until": datetime(2001, 1, 2, tzinfo=UTC)}
    pages, scanned = kept.plan(tally.TALLY, window)
    assert scanned >= {"reliable_job_finished"}
    assert not {each for each in scanned if "Seq Scan" in each}
    assert pages < 100
    day = kept.connection.execute("SELECT now() - interval '9 hours', now()").fetchone()
    assert day
    pages, scanned = kept.plan(tally.TALLY, {"mark": day[0], "until": day[1]})
    assert not {each for each in scanned if "Seq Scan on reliable_job" in each}
    assert pages < ROWS / 50
