"""Every statement that changes a job on its way, with the index that serves it.

Times are the database's: `now()` where one moment is meant, `clock_timestamp()` where a transaction
may have been open for long. `%(...)s` are parameters. What may be lost with the last moments of a
database that crashes (a claim, a mark, a beat) does not wait for the disk: losing it only means to
do it again.
"""

NOT_WAITING_FOR_THE_DISK = "set_config('synchronous_commit', 'off', true) <> ''"

#: Its payload is a queue's name, or CHANGED: the relays look at what operators say.
CHANNEL = "reliable_jobs"
CHANGED = "*"

# A job's columns as members of a JSON object: what many calls have in common, and each one's own.
_SHARED = """
task text, queue text, priority smallint, eta timestamptz, countdown float, expires_at timestamptz,
expires_in float, max_attempts smallint, backoff float, time_limit integer, atomic boolean,
headers jsonb, tags text[], release text, parent_id uuid, unique_running boolean
"""
_OWN = "id uuid, args jsonb, kwargs jsonb, unique_key text"

# Not jsonb_to_record: each value is read once, and to make a jsonb of it first takes longer.
_ONE = f"FROM json_to_record(%(parameter)s::json) AS new ({_SHARED}, {_OWN})"
_MANY = f"""
FROM json_to_recordset(%(parameter)s::json) AS shared ({_SHARED}, calls json),
json_to_recordset(shared.calls) AS new ({_OWN})
"""

_INSERT = """
INSERT INTO reliable_job AS job (
    id, task, queue, args, kwargs, priority, run_at, expires_at, max_attempts, backoff, time_limit,
    atomic, headers, tags, release_enqueued, parent_id, unique_key, unique_running
)
SELECT
    new.id, task, queue, new.args, coalesce(new.kwargs, '{}'), priority,
    coalesce(eta, clock_timestamp() + countdown * interval '1 second'),
    coalesce(expires_at, clock_timestamp() + expires_in * interval '1 second'),
    max_attempts, backoff, time_limit, atomic, headers, tags, release, parent_id, new.unique_key,
    unique_running
"""

# Insert and wake the relays in one statement: PostgreSQL sends equal calls of a transaction once.
_WAKE = f"RETURNING pg_notify('{CHANNEL}', queue)"
ENQUEUE = f"{_INSERT} {_ONE} {_WAKE}"
ENQUEUE_MANY = f"{_INSERT} {_MANY} {_WAKE}"

# A parent that runs again makes the same ids again. To look for them takes a tenth of an INSERT.
ENQUEUE_AGAIN = f"{_INSERT} {_MANY} ON CONFLICT (id) DO NOTHING {_WAKE}"

# A job whose unique_key stands elsewhere is not inserted: the other one is locked until the caller
# commits, and offered again after that, so that the run that follows sees the caller's data. With
# `DO NOTHING` it could have begun before. Index: the primary key; reliable_job_unique.
ENQUEUE_UNIQUE = f"""
WITH job AS (
    {_INSERT} {_ONE}
    WHERE NOT EXISTS (SELECT FROM reliable_job AS earlier WHERE earlier.id = new.id)
    ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL DO UPDATE
    SET published_at = NULL,
        -- Debounced: after a pause in the calls, or at last so long after the first.
        run_at = CASE WHEN %(longest)s::float IS NULL THEN least(job.run_at, excluded.run_at)
            ELSE least(
                excluded.run_at, job.created_at + %(longest)s::float * interval '1 second'
            ) END,
        expires_at = CASE WHEN %(longest)s::float IS NULL THEN job.expires_at
            ELSE excluded.expires_at END
    RETURNING id, queue, xmax = 0 AS created
)
SELECT id, created, pg_notify('{CHANNEL}', queue) FROM job
"""

# What the relay needs to know of a job to offer it.
_OFFER = """
job.id, job.task, job.queue, job.priority, job.time_limit, job.headers, job.run_at,
job.solo OR job.suspect OR job.offers >= 4 AS alone
"""

# Mark due jobs of a queue, in the order of priority and time, after the keys that the relay took
# last: the rows before are dead, and each scan would pass over them. A level at a time, so that a
# million urgent jobs of tomorrow do not stand before today's. Index: reliable_job_due.
PUBLISH = f"""
WITH due AS (
    SELECT job.id
    FROM (SELECT {NOT_WAITING_FOR_THE_DISK}) AS fast,
    unnest(%(levels)s::smallint[], %(run_ats)s::timestamptz[], %(ids)s::uuid[])
        AS level (priority, run_at, id),
    LATERAL (
        SELECT id FROM reliable_job
        WHERE state = 'waiting' AND published_at IS NULL
            AND queue = %(queue)s AND priority = level.priority
            AND run_at <= now() AND (run_at, id) > (level.run_at, level.id)
        ORDER BY run_at, id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS job
    LIMIT %(limit)s
)
UPDATE reliable_job AS job SET published_at = now(), offers = least(offers + 1, 1000)
FROM due WHERE job.id = due.id
RETURNING {_OFFER}
"""

# Published, and nobody came: the message is lost, or waits behind others. Doubling keeps a queue
# without workers from filling the broker with copies. Index: reliable_job_published.
OFFER_AGAIN = f"""
WITH overdue AS (
    SELECT id FROM reliable_job
    WHERE state = 'waiting' AND published_at IS NOT NULL AND queue = %(queue)s
        AND (
            published_at < now() - CASE
                WHEN %(empty)s THEN interval '5 seconds'
                ELSE least(3600, 60 * 2 ^ least(offers - 1, 10)) * interval '1 second'
            END
            -- The database's clock was set back.
            OR published_at > now() + interval '1 minute'
        )
        AND {NOT_WAITING_FOR_THE_DISK}
    ORDER BY published_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE reliable_job AS job SET published_at = now(), offers = least(offers + 1, 1000)
FROM overdue WHERE job.id = overdue.id
RETURNING {_OFFER}
"""

# Marked, but the broker did not take them: no offers, or their pauses would double as long as
# it is away. Index: the primary key.
UNPUBLISH = """
UPDATE reliable_job SET published_at = NULL, offers = greatest(offers - 1, 0)
WHERE id = ANY(%(ids)s::uuid[]) AND state = 'waiting'
"""

# Their messages wait in a worker that is busy. Index: the primary key.
OFFER_NOW = f"""
WITH job AS (
    UPDATE reliable_job SET published_at = NULL
    WHERE id = ANY(%(ids)s::uuid[]) AND state = 'waiting'
    RETURNING queue
)
SELECT pg_notify('{CHANNEL}', queue) FROM job GROUP BY queue
"""

# A message says only which job: whether it is to run, and with what, stands in the row. One that is
# locked is about to be changed by its caller, who offers it again. Losing a claim means to run
# again, so it need not wait for the disk; unless the body keeps its effects over a crash of the
# database, or the job has been offered again and again. Index: the primary key.
#
# In a queue with a limit a running job holds a slot that no other can hold, by reliable_job_slot:
# two claims that do not see each other and choose the same are decided by an IntegrityError, and
# the loser tries again. Slots above the limit are from before it was lowered; while there are any,
# everybody chooses the lowest that is free: whoever does not see another's claim collides with it,
# so that the count holds, too.
CLAIM = """
UPDATE reliable_job SET
    state = 'running', claim_no = claim_no + 1, worker = %(worker)s,
    -- A pooler gives this session to somebody else next, who must not be ended for us.
    backend = CASE WHEN NOT %(pooled)s THEN pg_backend_pid() END,
    started_at = clock_timestamp(),
    deadline_at = clock_timestamp() + (time_limit + %(margin)s) * interval '1 second',
    published_at = NULL, release_ran = %(release)s, batched = false,
    unique_key = CASE WHEN unique_running THEN unique_key END,
    slot = (
        SELECT free.slot
        FROM reliable_queue, generate_series(1, "limit") AS free (slot)
        WHERE name = reliable_job.queue AND NOT EXISTS (
            SELECT FROM reliable_job AS other
            WHERE other.queue = name AND other.slot = free.slot AND other.state = 'running'
        )
        ORDER BY
            CASE WHEN NOT EXISTS (
                SELECT FROM reliable_job AS other
                WHERE other.queue = name AND other.slot > "limit" AND other.state = 'running'
            ) THEN random() END,
            free.slot
        LIMIT 1
    )
WHERE id = (
    SELECT id FROM reliable_job
    -- Not now(): a test's transaction began before its jobs.
    WHERE id = %(id)s AND state = 'waiting' AND run_at <= clock_timestamp()
        AND (expires_at IS NULL OR expires_at > clock_timestamp())
        AND NOT EXISTS (
            SELECT FROM reliable_queue
            WHERE name = reliable_job.queue AND (
                paused_at IS NOT NULL
                OR "limit" <= (
                    SELECT count(*) FROM reliable_job AS other
                    WHERE other.queue = name AND other.slot IS NOT NULL
                        AND other.state = 'running'
                )
            )
        )
        AND NOT (suspect AND EXISTS (
            SELECT FROM reliable_job AS other
            WHERE other.worker = %(worker)s AND other.state = 'running' AND other.suspect
        ))
        AND set_config(
            'synchronous_commit', CASE WHEN atomic AND offers < 4 THEN 'off' ELSE 'on' END, true
        ) <> ''
    FOR UPDATE SKIP LOCKED
)
RETURNING
    claim_no, task, queue, args, kwargs, attempt, max_attempts, time_limit, headers, checkpoint,
    misfits, misfit_since < now() - interval '24 hours', slot IS NOT NULL
"""

# A queue's limit refused the claim: its message is gone, and the relay is to offer the job when
# there is a place. It is called although that may be later: a place that became free before this
# commit was offered to nobody. Index: the primary key.
REFUSED = f"""
WITH refused AS (
    UPDATE reliable_job SET published_at = NULL, offers = greatest(offers - 1, 0)
    WHERE id = (
        SELECT id FROM reliable_job
        WHERE id = %(id)s AND state = 'waiting'
            -- What other reasons refused would come back at once, again and again.
            AND run_at <= clock_timestamp() AND NOT suspect
            AND (expires_at IS NULL OR expires_at > clock_timestamp())
            AND EXISTS (
                SELECT FROM reliable_queue
                WHERE name = reliable_job.queue AND "limit" IS NOT NULL AND paused_at IS NULL
            )
        FOR UPDATE SKIP LOCKED
    )
    AND {NOT_WAITING_FOR_THE_DISK}
    RETURNING queue
)
SELECT pg_notify('{CHANNEL}', queue) FROM refused
"""

# The same for the jobs of a message that names many, but for those that are to run alone. The first
# may have to wait for all. Index: the primary key.
CLAIM_BATCH = f"""
WITH free AS (
    SELECT id, time_limit FROM reliable_job
    WHERE id = ANY(%(ids)s::uuid[]) AND state = 'waiting' AND run_at <= clock_timestamp()
        AND task = %(task)s AND (expires_at IS NULL OR expires_at > clock_timestamp())
        AND NOT solo AND NOT suspect AND offers < 4
        AND NOT EXISTS (
            SELECT FROM reliable_queue
            WHERE name = reliable_job.queue AND (paused_at IS NOT NULL OR "limit" IS NOT NULL)
        )
        AND {NOT_WAITING_FOR_THE_DISK}
    FOR UPDATE SKIP LOCKED
),
total AS (SELECT sum(time_limit + %(kill_after)s) AS seconds FROM free)
UPDATE reliable_job AS job SET
    state = 'running', claim_no = claim_no + 1, worker = %(worker)s,
    backend = CASE WHEN NOT %(pooled)s THEN pg_backend_pid() END,
    started_at = clock_timestamp(),
    deadline_at = clock_timestamp() + (total.seconds + %(margin)s) * interval '1 second',
    published_at = NULL, release_ran = %(release)s, batched = true, slot = NULL,
    unique_key = CASE WHEN unique_running THEN unique_key END
FROM free, total WHERE job.id = free.id
RETURNING
    job.id, claim_no, task, queue, args, kwargs, attempt, max_attempts, job.time_limit, headers,
    checkpoint, misfits, misfit_since < now() - interval '24 hours', false
"""

# --- The fence: what stands in each statement by or for a runner ---------------------------------

# Only a running job has a worker, by a constraint. `state = 'running'` would say so too, and let
# PostgreSQL read reliable_job_running, with all the dead rows of this worker, not the primary key.
_FENCE = "id = %(id)s AND claim_no = %(claim_no)s AND worker = %(worker)s"

# The last statement of the body's transaction. No row: somebody else owns the job; roll back.
FINISH = f"""
UPDATE reliable_job SET
    state = 'succeeded', finished_at = clock_timestamp(), result = %(result)s::jsonb, error = '',
    unique_key = NULL, worker = NULL, backend = NULL, deadline_at = NULL
WHERE {_FENCE}
"""

# The same, of a body that has done nothing in this database, so that there is nothing to lose with
# it: after a crash it runs again.
FINISH_ALONE = f"{FINISH} AND {NOT_WAITING_FOR_THE_DISK}"


# The same in a queue with a limit: the relay fills the place.
def _and_call(finish: str) -> str:
    return f"""
WITH finished AS ({finish} RETURNING queue)
SELECT pg_notify('{CHANNEL}', queue) FROM finished
"""


FINISH_LIMITED = _and_call(FINISH)

FINISH_ALONE_LIMITED = _and_call(FINISH_ALONE)

# For all of a batch whose bodies have succeeded. Fewer rows than claims: roll all of it back. A
# join with the lists would compare each job with all of them. Index: the primary key.
FINISH_BATCH = """
UPDATE reliable_job SET
    state = 'succeeded', finished_at = clock_timestamp(),
    result = %(results)s::jsonb -> (array_position(%(ids)s::uuid[], id) - 1), error = '',
    unique_key = NULL, worker = NULL, backend = NULL, deadline_at = NULL
WHERE id = ANY(%(ids)s::uuid[]) AND worker = %(worker)s
    AND claim_no = (%(claim_nos)s::integer[])[array_position(%(ids)s::uuid[], id)]
"""

CHECKPOINT = f"UPDATE reliable_job SET checkpoint = %(data)s::jsonb WHERE {_FENCE}"

PROGRESS = f"UPDATE reliable_job SET progress = %(data)s::jsonb WHERE {_FENCE} RETURNING id"

STILL_MINE = f"SELECT id FROM reliable_job WHERE {_FENCE}"

# A claim ends without success: by its runner, or for one that is gone. `final` is the state to end
# in whatever is left of the attempts. `solo`: if it was one of a batch's, then nobody knows whose
# fault it was: it does not count, and it runs alone from now on. Index: the primary key.
GIVE_BACK = f"""
WITH held AS (
    SELECT
        job.id, job.worker, job.batched AND %(solo)s AS to_solo,
        %(counted)s AND NOT (job.batched AND %(solo)s) AS counted
    FROM reliable_job AS job
    JOIN unnest(%(ids)s::uuid[], %(claim_nos)s::integer[]) AS claim (id, claim_no)
        ON job.id = claim.id AND job.claim_no = claim.claim_no
    WHERE job.worker = %(worker)s
    FOR UPDATE OF job
),
ended AS (
    UPDATE reliable_job AS job SET
        (state, finished_at, unique_key) = (
            SELECT
                final.state,
                CASE WHEN final.state <> 'waiting' THEN clock_timestamp() END,
                CASE WHEN final.state = 'waiting' THEN job.unique_key END
            FROM (
                SELECT coalesce(
                    %(final)s,
                    CASE WHEN held.counted AND job.attempt + 1 >= job.max_attempts
                        THEN 'failed' ELSE 'waiting' END
                ) AS state
            ) AS final
        ),
        attempt = job.attempt + held.counted::integer,
        run_at = CASE
            WHEN %(final)s IS NOT NULL OR held.counted AND job.attempt + 1 >= job.max_attempts
                THEN job.run_at
            ELSE clock_timestamp() + interval '1 second' * coalesce(
                %(delay)s::float,
                CASE WHEN held.counted
                    THEN random() * least(3600, job.backoff * 2 ^ least(job.attempt, 20))
                    ELSE 0 END
            )
        END,
        offers = CASE WHEN held.counted THEN 0 ELSE job.offers END,
        misfits = CASE WHEN %(outcome)s = 'misfit' THEN least(job.misfits + 1, 1000) ELSE 0 END,
        misfit_since = CASE WHEN %(outcome)s = 'misfit'
            THEN coalesce(job.misfit_since, clock_timestamp()) END,
        suspect = job.suspect OR %(suspect)s, solo = job.solo OR held.to_solo,
        error = %(error)s, exception = %(exception)s, place = %(place)s,
        worker = NULL, backend = NULL, deadline_at = NULL
    FROM held WHERE job.id = held.id
    RETURNING job.*, held.worker AS held_by, held.counted AS was_counted
),
noted AS (
    INSERT INTO reliable_attempt
        (job_id, claim_no, outcome, counted, started_at, worker, release, error, traceback)
    SELECT
        id, claim_no, %(outcome)s, was_counted, started_at, held_by, release_ran, %(error)s,
        %(traceback)s
    FROM ended
)
SELECT
    id, task, queue, state, attempt, max_attempts, headers,
    extract(epoch FROM run_at - clock_timestamp())::float, pg_notify('{CHANNEL}', queue)
FROM ended
"""

# --- Workers -------------------------------------------------------------------------------------

# A beat, and what the database believes this worker to hold. Index: reliable_job_running.
BEAT = f"""
WITH beat AS (
    INSERT INTO reliable_worker AS worker (id, name, release, queues, slots)
    SELECT %(worker)s, %(name)s, %(release)s, %(queues)s, %(slots)s
    WHERE {NOT_WAITING_FOR_THE_DISK}
    ON CONFLICT (id) DO UPDATE SET beat = worker.beat + 1
)
SELECT id, claim_no FROM reliable_job WHERE worker = %(worker)s AND state = 'running'
"""

LEAVE = "DELETE FROM reliable_worker WHERE id = %(worker)s"

# --- Duties of the relays ------------------------------------------------------------------------

# Whoever gets the lock does the duty of this moment; it ends with the transaction.
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('reliable_jobs.' || %(duty)s, 0))"

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('reliable_jobs.' || %(duty)s, 0))"

# Slots of each queue, over its workers.
SLOTS = """
SELECT queue, sum(slots) FROM reliable_worker, unnest(queues) AS queue GROUP BY queue
"""

# Each worker that is known or holds something, with its beat (none: it has no row), and the jobs
# it holds with the seconds that they may take. Index: reliable_job_running.
RUNNING = """
SELECT
    coalesce(worker.id, job.worker), worker.beat,
    job.id, job.claim_no, job.suspect, job.batched,
    extract(epoch FROM job.deadline_at - job.started_at)::float
FROM reliable_worker AS worker
FULL JOIN (SELECT * FROM reliable_job WHERE state = 'running') AS job ON job.worker = worker.id
"""

# The sessions of claims that were taken away: their locks go with them. A session that began after
# the claim is another one with the same number.
END_SESSIONS = """
SELECT pg_terminate_backend(session.pid)
FROM reliable_job AS job
JOIN unnest(%(ids)s::uuid[], %(claim_nos)s::integer[]) AS claim (id, claim_no)
    ON job.id = claim.id AND job.claim_no = claim.claim_no
JOIN pg_stat_activity AS session
    ON session.pid = job.backend AND session.datname = current_database()
    AND session.usename = current_user AND session.backend_start <= job.started_at
WHERE job.state = 'running' AND session.pid <> pg_backend_pid()
"""

# Index: reliable_job_expires.
EXPIRE = """
WITH late AS (
    SELECT id FROM reliable_job
    WHERE state = 'waiting' AND expires_at <= now()
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE reliable_job AS job SET
    state = 'expired', finished_at = clock_timestamp(), published_at = NULL, unique_key = NULL
FROM late WHERE job.id = late.id
RETURNING job.id, job.task, job.queue, job.headers
"""

# From the last key on: between what is to go lies what is kept for longer, which is not to be read
# in each round. Nothing goes that was not tallied. A job that somebody retries at this moment is
# locked, and stays. Returns the key that was reached. Index: reliable_job_finished.
PURGE = """
WITH passed AS MATERIALIZED (
    SELECT id, finished_at, task FROM reliable_job
    WHERE state = %(state)s AND finished_at >= %(after)s
        AND (finished_at, id) > (%(after)s, %(after_id)s)
        AND finished_at < least(
            now() - %(seconds)s * interval '1 second', (SELECT until FROM reliable_tally_mark)
        )
    ORDER BY finished_at, id LIMIT %(limit)s
),
old AS (
    SELECT id FROM reliable_job
    WHERE id IN (SELECT id FROM passed WHERE (task = ANY(%(tasks)s)) <> %(others)s)
        AND state = %(state)s
    FOR UPDATE SKIP LOCKED
),
attempts AS (DELETE FROM reliable_attempt USING old WHERE job_id = old.id),
gone AS (DELETE FROM reliable_job AS job USING old WHERE job.id = old.id)
SELECT finished_at, id, (SELECT count(*) FROM passed)
FROM passed ORDER BY finished_at DESC, id DESC LIMIT 1
"""

# The messages of a paused queue were dropped by whoever got them.
_OFFER_DROPPED = """
dropped AS (
    UPDATE reliable_job AS job SET published_at = NULL
    FROM resumed WHERE job.queue = resumed.name
        AND job.state = 'waiting' AND job.published_at IS NOT NULL
)
"""

RESUME = f"""
WITH resumed AS (
    UPDATE reliable_queue
    SET paused_at = NULL, paused_by = '', paused_why = '', paused_until = NULL
    WHERE paused_until <= now() RETURNING name
),
{_OFFER_DROPPED}
SELECT name, pg_notify('{CHANNEL}', name) FROM resumed
"""

# What operators said about queues.
SAID = """
SELECT name, paused_at IS NOT NULL, "limit" FROM reliable_queue
WHERE paused_at IS NOT NULL OR "limit" IS NOT NULL
"""

# Places in a queue with a limit. Index: reliable_job_slot.
FREE = """
SELECT "limit" - (
    SELECT count(*) FROM reliable_job
    WHERE queue = name AND slot IS NOT NULL AND state = 'running'
)
FROM reliable_queue WHERE name = %(queue)s AND "limit" IS NOT NULL
"""

# What began before its queue had a limit counts, too: it gets a slot above all others. Under the
# lock of `adopt`. Index: reliable_job_running.
ADOPT = """
WITH new AS (
    SELECT
        job.id, job.claim_no,
        greatest("limit", (
            SELECT max(slot) FROM reliable_job
            WHERE queue = name AND slot IS NOT NULL AND state = 'running'
        )) + row_number() OVER (PARTITION BY name) AS slot
    FROM reliable_queue JOIN reliable_job AS job ON job.queue = name
    WHERE "limit" IS NOT NULL AND job.state = 'running' AND job.slot IS NULL
)
UPDATE reliable_job AS job SET slot = new.slot
FROM new
WHERE job.id = new.id AND job.claim_no = new.claim_no AND job.state = 'running'
"""

# --- What a relay says of itself: a table of a few rows ------------------------------------------

RELAY_SEEN = """
INSERT INTO reliable_relay AS relay (name, host, pid, release, published)
VALUES (%(name)s, %(host)s, %(pid)s, %(release)s, %(published)s)
ON CONFLICT (name) DO UPDATE SET
    published = excluded.published, release = excluded.release, seen_at = clock_timestamp()
"""

RELAY_LEFT = "DELETE FROM reliable_relay WHERE name = ANY(%(names)s::text[])"

RELAYS_OF_HOST = "SELECT name, pid FROM reliable_relay WHERE host = %(host)s"

# Of hosts that are gone.
PURGE_RELAYS = "DELETE FROM reliable_relay WHERE seen_at < clock_timestamp() - interval '1 day'"

RELAYS = """
SELECT name, release, extract(epoch FROM clock_timestamp() - seen_at)::float FROM reliable_relay
ORDER BY name
"""

# --- People --------------------------------------------------------------------------------------

# A running job ends as well: its finish is refused, and with it its effects.
CANCEL = """
UPDATE reliable_job AS job SET
    state = 'cancelled', finished_at = clock_timestamp(), error = %(reason)s, published_at = NULL,
    unique_key = NULL, worker = NULL, backend = NULL, deadline_at = NULL
WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('held', 'waiting', 'running')
RETURNING id, task, queue, headers
"""

# All attempts anew.
RETRY = f"""
WITH job AS (
    UPDATE reliable_job SET
        state = 'waiting', finished_at = NULL, attempt = 0, offers = 0, misfits = 0,
        misfit_since = NULL, suspect = false, solo = false, expires_at = NULL,
        run_at = clock_timestamp()
    WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('failed', 'cancelled', 'expired')
    RETURNING id, task, queue, headers
)
SELECT id, task, queue, headers, pg_notify('{CHANNEL}', queue) FROM job
"""

# Dead letters that nobody wants.
DISCARD = """
UPDATE reliable_job SET state = 'cancelled', error = %(reason)s
WHERE id = ANY(%(ids)s::uuid[]) AND state = 'failed'
RETURNING id, task, queue, headers
"""

# A pause that is said again keeps its beginning. Index: the primary key.
PAUSE = """
INSERT INTO reliable_queue AS queue (name, paused_at, paused_by, paused_why, paused_until)
VALUES (
    %(queue)s, clock_timestamp(), %(by)s, %(why)s,
    coalesce(
        %(until)s::timestamptz, clock_timestamp() + %(seconds)s::float * interval '1 second'
    )
)
ON CONFLICT (name) DO UPDATE SET
    paused_at = coalesce(queue.paused_at, excluded.paused_at), paused_by = excluded.paused_by,
    paused_why = excluded.paused_why, paused_until = excluded.paused_until
RETURNING paused_at, paused_until
"""

# Index: the primary key.
LIMIT = f"""
WITH before AS (SELECT "limit" FROM reliable_queue WHERE name = %(queue)s),
said AS (
    INSERT INTO reliable_queue (name, "limit") VALUES (%(queue)s, %(limit)s)
    ON CONFLICT (name) DO UPDATE SET "limit" = excluded."limit" RETURNING name
)
SELECT (SELECT "limit" FROM before), pg_notify('{CHANNEL}', '{CHANGED}') FROM said
"""

# What stood there is gone with the UPDATE, so it is read before. Index: the primary key.
RESUME_QUEUE = f"""
WITH paused AS (
    SELECT name, paused_at, paused_until FROM reliable_queue
    WHERE name = %(queue)s AND paused_at IS NOT NULL FOR UPDATE
),
resumed AS (
    UPDATE reliable_queue AS queue
    SET paused_at = NULL, paused_by = '', paused_why = '', paused_until = NULL
    FROM paused WHERE queue.name = paused.name RETURNING queue.name
),
{_OFFER_DROPPED}
SELECT paused_at, paused_until, pg_notify('{CHANNEL}', name) FROM paused
"""
