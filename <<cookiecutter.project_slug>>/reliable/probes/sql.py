"""The statements. The table of targets has some dozens of rows: each reads or finds them by name.

Every time is the database's, so that no host's clock is compared with another's; and
clock_timestamp() where a transaction may be older than what it looks at.
"""

# --- Beat ----------------------------------------------------------------------------------------

TICK = """
INSERT INTO reliable_probe_target AS target (kind, name, seen_at, release)
VALUES ('beat', 'beat', clock_timestamp(), %(release)s)
ON CONFLICT (kind, name) DO UPDATE SET
    seen_at = excluded.seen_at, release = excluded.release, retired_at = NULL
"""

# A tick that is over: whatever it noted as sent has left.
TICKED = """
UPDATE reliable_probe_target SET returned_at = clock_timestamp()
WHERE kind = 'beat' AND name = 'beat'
"""

# The lists that the settings declare, and no other.
DECLARE = """
WITH declared AS (
    INSERT INTO reliable_probe_target AS target (kind, name)
    SELECT 'queue', name FROM unnest(%(names)s::text[]) AS name
    ON CONFLICT (kind, name) DO UPDATE SET retired_at = NULL, token = NULL, lost_in_row = 0
        WHERE target.retired_at IS NOT NULL
)
UPDATE reliable_probe_target SET retired_at = clock_timestamp()
WHERE kind = 'queue' AND retired_at IS NULL AND NOT name = ANY(%(names)s::text[])
"""

# A worker that fell silent long ago: its list may hold a probe that nobody will take.
FORGET = """
UPDATE reliable_probe_target SET retired_at = clock_timestamp(), token = NULL
WHERE kind = 'worker' AND retired_at IS NULL
    AND seen_at < clock_timestamp() - %(seconds)s * interval '1 second'
RETURNING name
"""

# Before the message leaves, since the answer may be quicker than whoever asked. No row: somebody
# else has just asked.
SENDING = """
UPDATE reliable_probe_target SET
    token = %(token)s, sent_at = clock_timestamp(), sent = sent + 1, waiting = %(waiting)s,
    asked_at = CASE WHEN lost_in_row > 0 THEN asked_at ELSE clock_timestamp() END
WHERE id = %(id)s AND token IS NULL
RETURNING 1
"""

SENT = """
UPDATE reliable_probe_target SET error = '', error_at = NULL
WHERE id = %(id)s AND error_at IS NOT NULL
"""

WAITING = "UPDATE reliable_probe_target SET waiting = %(waiting)s WHERE id = %(id)s"

# What was outstanding went with the broker, or is not waited for.
UNSENT = """
UPDATE reliable_probe_target SET
    lost = lost + (token IS NOT NULL)::integer, token = NULL, lost_in_row = 0, waiting = NULL,
    error = %(error)s, error_at = coalesce(error_at, clock_timestamp())
WHERE id = ANY(%(ids)s::bigint[])
"""

LOST = """
UPDATE reliable_probe_target SET token = NULL, lost = lost + 1, lost_in_row = lost_in_row + 1
WHERE id = %(id)s AND token IS NOT NULL
"""

PURGE_SAMPLES = """
DELETE FROM reliable_probe_sample WHERE id IN (
    SELECT id FROM reliable_probe_sample
    WHERE at < clock_timestamp() - %(seconds)s * interval '1 second' LIMIT 1000
)
"""

PURGE_TRANSITIONS = """
DELETE FROM reliable_probe_transition WHERE id IN (
    SELECT id FROM reliable_probe_transition
    WHERE at < clock_timestamp() - %(seconds)s * interval '1 second' LIMIT 1000
)
"""

# Each deploy leaves the workers of the one before.
PURGE_RETIRED = """
WITH old AS (
    SELECT id FROM reliable_probe_target
    WHERE retired_at < clock_timestamp() - interval '7 days' LIMIT 100
),
samples AS (DELETE FROM reliable_probe_sample USING old WHERE target_id = old.id),
transitions AS (DELETE FROM reliable_probe_transition USING old WHERE target_id = old.id)
DELETE FROM reliable_probe_target AS target USING old WHERE target.id = old.id
"""

# --- The operations page -------------------------------------------------------------------------
# Index of both: reliable_probe_sample_at. Not clock_timestamp(), which no index can be asked for.

PINGED = "SELECT extract(epoch FROM clock_timestamp() - at)::float FROM reliable_probe_ping"

SLOWEST = """
SELECT
    target_id, greatest(0, floor(extract(epoch FROM now() - at) / %(step)s))::integer AS ago,
    max(latency)
FROM reliable_probe_sample
WHERE at > now() - %(seconds)s * interval '1 second'
GROUP BY target_id, ago
"""

PERCENTILES = """
SELECT target_id, percentile_disc(0.95) WITHIN GROUP (ORDER BY latency)
FROM reliable_probe_sample
WHERE at > now() - interval '1 hour'
GROUP BY target_id
"""

# --- Workers -------------------------------------------------------------------------------------

_AGE = "greatest(0, extract(epoch FROM clock_timestamp() - sent_at))::float"
_BUCKET = f"width_bucket({_AGE}, %(bounds)s::float[]) + 1"

RETURNED = f"""
WITH answered AS (
    UPDATE reliable_probe_target SET
        token = NULL, returned_at = clock_timestamp(), returned = returned + 1, lost_in_row = 0,
        latency = {_AGE}, latency_sum = latency_sum + {_AGE},
        buckets = (
            SELECT array_agg(
                coalesce(buckets[place], 0) + (place = {_BUCKET})::integer ORDER BY place
            )
            FROM generate_series(1, cardinality(%(bounds)s::float[]) + 1) AS place
        ),
        worker = %(worker)s, pid = %(pid)s, release = %(release)s
    WHERE token = %(token)s
    RETURNING id, kind, latency
)
INSERT INTO reliable_probe_sample (target_id, latency)
SELECT id, latency FROM answered WHERE kind = 'queue'
"""

# A worker took it from the list, too late to run it.
EXPIRED = f"""
UPDATE reliable_probe_target SET
    token = NULL, returned_at = clock_timestamp(), latency = {_AGE}, expired = expired + 1,
    lost_in_row = 0, worker = %(worker)s, pid = NULL, release = %(release)s
WHERE token = %(token)s
"""

REPORT = """
INSERT INTO reliable_probe_target AS target (kind, name, seen_at, release, report)
VALUES ('worker', %(name)s, clock_timestamp(), %(release)s, %(report)s::jsonb)
ON CONFLICT (kind, name) DO UPDATE SET
    seen_at = excluded.seen_at, release = excluded.release, report = excluded.report,
    retired_at = NULL,
    -- Of another start of the same worker nothing is expected any more.
    token = CASE WHEN target.report->>'instance' = excluded.report->>'instance'
        THEN target.token END,
    lost_in_row = CASE WHEN target.report->>'instance' = excluded.report->>'instance'
        THEN target.lost_in_row ELSE 0 END
"""

LEAVE = """
UPDATE reliable_probe_target SET retired_at = clock_timestamp(), token = NULL
WHERE kind = 'worker' AND name = %(name)s AND report->>'instance' = %(instance)s
"""

# --- Whoever judges ------------------------------------------------------------------------------

# Nobody has judged for that long: what was asked meanwhile may not have been answered for lack of
# the database, so it is not waited for. No row: somebody else has judged a moment ago.
JUDGE = """
WITH before AS (
    SELECT judged_at < clock_timestamp() - %(gap)s * interval '1 second' AS gap
    FROM reliable_probe_watch WHERE id = 1
),
mine AS (
    INSERT INTO reliable_probe_watch AS watch (id) VALUES (1)
    ON CONFLICT (id) DO UPDATE SET
        judged_at = clock_timestamp(),
        since = CASE WHEN watch.judged_at < clock_timestamp() - %(gap)s * interval '1 second'
            THEN clock_timestamp() ELSE watch.since END
        WHERE watch.judged_at < clock_timestamp() - %(every)s * interval '1 second'
    RETURNING 1
),
forgotten AS (
    UPDATE reliable_probe_target SET token = NULL, lost = lost + 1, lost_in_row = 0
    WHERE token IS NOT NULL AND EXISTS (SELECT FROM mine)
        AND EXISTS (SELECT FROM before WHERE gap)
)
SELECT 1 FROM mine
"""

LOOK = """
SELECT
    id, kind, name, state, extract(epoch FROM clock_timestamp() - state_since)::float,
    extract(epoch FROM clock_timestamp() - created_at)::float,
    extract(epoch FROM clock_timestamp() - seen_at)::float,
    extract(epoch FROM clock_timestamp() - sent_at)::float,
    extract(epoch FROM clock_timestamp() - returned_at)::float,
    extract(epoch FROM clock_timestamp() - asked_at)::float,
    token IS NOT NULL, latency, error,
    extract(epoch FROM clock_timestamp() - error_at)::float,
    waiting, sent, returned, expired, lost, lost_in_row, worker, pid, release, report,
    (SELECT extract(epoch FROM clock_timestamp() - since)::float FROM reliable_probe_watch)
FROM reliable_probe_target
WHERE retired_at IS NULL
ORDER BY kind, name
"""

# Only one of those who saw the change makes it.
CHANGE = """
WITH before AS (
    SELECT id, state, extract(epoch FROM clock_timestamp() - state_since)::float AS lasted
    FROM reliable_probe_target WHERE id = %(id)s
),
changed AS (
    UPDATE reliable_probe_target AS target SET
        state = %(after)s, state_since = clock_timestamp(), hop = %(hop)s, why = %(why)s,
        -- What it was asked while it was paused, and how late it answered, count for nothing.
        token = CASE WHEN before.state = 'paused' THEN NULL ELSE token END,
        latency = CASE WHEN before.state = 'paused' THEN NULL ELSE latency END,
        lost = lost + (before.state = 'paused' AND token IS NOT NULL)::integer,
        lost_in_row = CASE WHEN before.state = 'paused' THEN 0 ELSE lost_in_row END
    FROM before
    WHERE target.id = before.id AND target.state = %(before)s
    RETURNING target.id, before.lasted
)
INSERT INTO reliable_probe_transition (target_id, before, after, hop, why, lasted, alarm)
SELECT id, %(before)s, %(after)s, %(hop)s, %(why)s, lasted, %(alarm)s FROM changed
RETURNING lasted
"""

RELAYS = """
INSERT INTO reliable_probe_target AS target (kind, name, release, seen_at)
SELECT 'relay', name, release, clock_timestamp() - seen * interval '1 second'
FROM unnest(%(names)s::text[], %(releases)s::text[], %(seen)s::float[])
    AS relay (name, release, seen)
ON CONFLICT (kind, name) DO UPDATE SET
    seen_at = excluded.seen_at, release = excluded.release, retired_at = NULL
"""

# No relay: it is remembered when one was seen last.
NO_RELAY = """
INSERT INTO reliable_probe_target AS target (kind, name) VALUES ('relay', %(name)s)
ON CONFLICT (kind, name) DO UPDATE SET retired_at = NULL WHERE target.retired_at IS NOT NULL
"""

RETIRE_RELAYS = """
UPDATE reliable_probe_target SET retired_at = clock_timestamp()
WHERE kind = 'relay' AND retired_at IS NULL AND NOT name = ANY(%(names)s::text[])
"""

# --- Whoever asks, and whoever is told -----------------------------------------------------------

LATENCIES = """
SELECT name, buckets, latency_sum FROM reliable_probe_target
WHERE kind = 'queue' AND retired_at IS NULL ORDER BY name
"""

MUTE = """
INSERT INTO reliable_probe_mute AS mute (id, until, by, why)
VALUES (1, clock_timestamp() + %(seconds)s * interval '1 second', %(by)s, %(why)s)
ON CONFLICT (id) DO UPDATE SET until = excluded.until, by = excluded.by, why = excluded.why
RETURNING until, by, why
"""

UNMUTE = "DELETE FROM reliable_probe_mute WHERE until > clock_timestamp() RETURNING 1"

MUTED = "SELECT until, by, why FROM reliable_probe_mute WHERE until > clock_timestamp()"

TOLD = """
SELECT id, told, extract(epoch FROM clock_timestamp() - told_since)::float
FROM reliable_probe_target WHERE retired_at IS NULL
"""

# Only one of those who saw it tells it.
TELL = """
UPDATE reliable_probe_target SET told = %(after)s, told_since = clock_timestamp()
WHERE id = %(id)s AND told = %(before)s
RETURNING 1
"""

# The switch hears once in so long, of all that could tell it; at once that it is well again.
PING = """
INSERT INTO reliable_probe_ping AS ping (id, failing) VALUES (1, %(failing)s)
ON CONFLICT (id) DO UPDATE SET at = clock_timestamp(), failing = excluded.failing
    WHERE ping.failing <> excluded.failing
        OR ping.at < clock_timestamp() - %(every)s * interval '1 second'
RETURNING 1
"""
