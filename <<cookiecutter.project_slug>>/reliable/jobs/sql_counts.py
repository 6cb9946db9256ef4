"""What people look at, in SQL: counts that stop at a limit, so that a page or a scrape costs the
same with a million jobs. Each names its indexes; a test reads the plans.
"""

from reliable.jobs.states import FINISHED

# --- For people: by queue ------------------------------------------------------------------------

# By queue, with counts that stop: a million waiting jobs are no reason to read them whenever a page
# or a scrape asks. Which queues there are is found by loose scans. Levels of priority are asked one
# by one, so that the due ones are not looked for among a million of tomorrow. How many ended is
# reckoned from the newest, if they are more than are read. Each part is ordered as its index is, or
# the planner might find a sequential scan shorter; and (SELECT clock_timestamp()) is one moment,
# which an index can be asked for. Indexes: reliable_job_due, reliable_job_published,
# reliable_job_running, reliable_job_queue_failed, reliable_job_finished.
_DUE = "state = 'waiting' AND published_at IS NULL"
_OFFERED = "state = 'waiting' AND published_at IS NOT NULL"
_DEAD = "state = 'failed'"
_LOOSE = """
(
    WITH RECURSIVE name AS (
        (SELECT queue FROM reliable_job WHERE {0} ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (
            SELECT queue FROM reliable_job AS job WHERE {0} AND job.queue > name.queue
            ORDER BY queue LIMIT 1
        )
        FROM name WHERE name.queue IS NOT NULL
    )
    SELECT queue FROM name WHERE queue IS NOT NULL
)
"""
# So many of those that ended, of a state, in the last minute.
_NEWEST = 2000
_ENDED = f"""
(
    SELECT queue, finished_at FROM reliable_job
    WHERE state = '{{}}' AND finished_at > (SELECT clock_timestamp()) - interval '1 minute'
    ORDER BY finished_at DESC LIMIT {_NEWEST}
)
"""
_UNREAD = f"""
(
    SELECT finished_at FROM reliable_job
    WHERE state = '{{}}' AND finished_at > (SELECT clock_timestamp()) - interval '1 minute'
    ORDER BY finished_at DESC OFFSET {_NEWEST - 1} LIMIT 1
)
"""
_BY_LEVEL = f"""
    SELECT job.run_at FROM generate_series(0, 9) AS level, LATERAL (
        SELECT run_at FROM reliable_job AS job
        WHERE {_DUE} AND job.queue = name.queue AND priority = level
            AND run_at {{}} (SELECT clock_timestamp())
        ORDER BY run_at, id LIMIT {{}}
    ) AS job
"""
QUEUES = f"""
WITH running AS MATERIALIZED (
    SELECT queue, count(*) AS jobs FROM reliable_job WHERE state = 'running' GROUP BY queue
),
ended AS MATERIALIZED (
    {" UNION ALL ".join(_ENDED.format(state) for state in FINISHED)}
),
since AS (
    SELECT coalesce(
        greatest({", ".join(_UNREAD.format(state) for state in FINISHED)}),
        clock_timestamp() - interval '1 minute'
    ) AS moment
),
finished AS (
    SELECT
        queue,
        (count(*) * 60 / greatest(0.1, extract(epoch FROM clock_timestamp() - moment)))::bigint
            AS jobs
    FROM ended, since WHERE finished_at >= moment
    GROUP BY queue, moment
),
name AS (
    SELECT queue FROM {_LOOSE.format(_DUE)} AS due
    UNION SELECT queue FROM {_LOOSE.format(_OFFERED)} AS offered
    UNION SELECT queue FROM {_LOOSE.format(_DEAD)} AS failed
    UNION SELECT queue FROM running
    UNION SELECT queue FROM finished
)
SELECT
    name.queue,
    least(due.jobs + offered.jobs, %(most)s),
    (
        SELECT count(*) FROM ({_BY_LEVEL.format(">", "%(most)s")} LIMIT %(most)s) AS later
    ),
    coalesce(running.jobs, 0),
    (
        SELECT count(*) FROM (
            SELECT FROM reliable_job AS job WHERE {_DEAD} AND job.queue = name.queue
            ORDER BY finished_at LIMIT %(most)s
        ) AS failed
    ),
    extract(epoch FROM clock_timestamp() - least(due.oldest, offered.oldest))::float,
    coalesce(finished.jobs, 0)
FROM name
LEFT JOIN running ON running.queue = name.queue
LEFT JOIN finished ON finished.queue = name.queue,
LATERAL (
    SELECT
        (
            SELECT count(*) FROM ({_BY_LEVEL.format("<=", "%(most)s")} LIMIT %(most)s) AS few
        ) AS jobs,
        (SELECT min(run_at) FROM ({_BY_LEVEL.format("<=", "1")}) AS first) AS oldest
) AS due,
LATERAL (
    SELECT count(*) AS jobs, min(run_at) AS oldest FROM (
        SELECT run_at FROM reliable_job AS job WHERE {_OFFERED} AND job.queue = name.queue
        ORDER BY published_at LIMIT %(most)s
    ) AS job
) AS offered
ORDER BY name.queue
"""

# --- In the admin ---------------------------------------------------------------------------------

# The failed jobs by task, exception and place: a step of the index from group to group, then its
# first, its last and its count, up to a limit. Index: reliable_job_failed.
_OF_GROUP = """
    FROM reliable_job AS job
    WHERE job.state = 'failed' AND job.task = found.task AND job.exception = found.exception
        AND job.place = found.place AND job.finished_at >= %(since)s
"""

FAILED_GROUPS = f"""
WITH RECURSIVE found AS (
    (
        SELECT task, exception, place FROM reliable_job WHERE state = 'failed'
        ORDER BY task, exception, place LIMIT 1
    )
    UNION ALL
    SELECT following.*
    FROM found, LATERAL (
        SELECT task, exception, place FROM reliable_job
        WHERE state = 'failed'
            AND (task, exception, place) > (found.task, found.exception, found.place)
        ORDER BY task, exception, place LIMIT 1
    ) AS following
)
SELECT
    found.task, found.exception, found.place, counted.jobs, first.finished_at, last.finished_at,
    last.id, last.queue
FROM (SELECT * FROM found LIMIT %(groups)s) AS found,
LATERAL (SELECT job.finished_at {_OF_GROUP} ORDER BY job.finished_at LIMIT 1) AS first,
LATERAL (
    SELECT job.finished_at, job.id, job.queue {_OF_GROUP} ORDER BY job.finished_at DESC LIMIT 1
) AS last,
LATERAL (SELECT count(*) AS jobs FROM (SELECT {_OF_GROUP} LIMIT %(most)s) AS few) AS counted
"""

# How many there are of each state, as far as an index says it in a moment. Indexes:
# reliable_job_due, _published, _running, _finished; the primary key for `held`, newest first.
_SOME = "(SELECT count(*) FROM (SELECT FROM reliable_job WHERE {} LIMIT %(most)s) AS few)"

STATE_COUNTS = f"""
SELECT
    {_SOME.format("state = 'waiting' AND published_at IS NULL")}
        + {_SOME.format("state = 'waiting' AND published_at IS NOT NULL")},
    {_SOME.format("state = 'running'")},
    {_SOME.format("state = 'succeeded'")},
    {_SOME.format("state = 'failed'")},
    {_SOME.format("state = 'cancelled'")},
    {_SOME.format("state = 'expired'")}
"""

# Ids of what waits, if they are few: the newest of millions would hide an old one. Indexes:
# reliable_job_due, _published.
FEW_WAITING = """
SELECT id FROM (
    (SELECT id FROM reliable_job WHERE state = 'waiting' AND published_at IS NULL LIMIT %(most)s)
    UNION ALL
    (
        SELECT id FROM reliable_job WHERE state = 'waiting' AND published_at IS NOT NULL
        LIMIT %(most)s
    )
) AS few LIMIT %(most)s
"""

# Index: reliable_job_running.
FEW_RUNNING = "SELECT id FROM reliable_job WHERE state = 'running' LIMIT %(most)s"

# What waits and runs in a queue: how many are due, up to a limit, and since when the oldest is. A
# level of priority at a time. Indexes: reliable_job_due, _published, _running.
QUEUE_LOAD = """
SELECT
    asked.name,
    (
        SELECT count(*) FROM (
            SELECT FROM unnest(%(levels)s::smallint[]) AS level, LATERAL (
                SELECT FROM reliable_job AS job
                WHERE state = 'waiting' AND published_at IS NULL AND job.queue = asked.name
                    AND priority = level AND run_at <= (SELECT clock_timestamp())
                LIMIT %(most)s
            ) AS due LIMIT %(most)s
        ) AS few
    ) + (
        SELECT count(*) FROM (
            SELECT FROM reliable_job AS job
            WHERE state = 'waiting' AND published_at IS NOT NULL AND job.queue = asked.name
            LIMIT %(most)s
        ) AS few
    ),
    least(
        (
            SELECT min(due.run_at) FROM unnest(%(levels)s::smallint[]) AS level, LATERAL (
                SELECT run_at FROM reliable_job AS job
                WHERE state = 'waiting' AND published_at IS NULL AND job.queue = asked.name
                    AND priority = level AND run_at <= (SELECT clock_timestamp())
                ORDER BY run_at LIMIT 1
            ) AS due
        ),
        (
            SELECT min(run_at) FROM (
                SELECT run_at FROM reliable_job AS job
                WHERE state = 'waiting' AND published_at IS NOT NULL AND job.queue = asked.name
                LIMIT %(most)s
            ) AS few
        )
    ),
    (
        SELECT count(*) FROM reliable_job AS job
        WHERE state = 'running' AND job.queue = asked.name
    )
FROM unnest(%(queues)s::text[]) AS asked (name)
"""
