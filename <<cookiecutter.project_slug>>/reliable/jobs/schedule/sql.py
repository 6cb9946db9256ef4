"""Every statement that changes the schedule. All times are the database's.

The tables have a row for each entry and each start of a beat: no statement needs an index but the
primary keys.
"""

from reliable.jobs.sql import NOT_WAITING_FOR_THE_DISK

#: Seconds without a sign from a beat until another one's schedule may come into force.
GONE_AFTER = 15

# Two releases may run at once, each with its own schedule: the one started last decides. One whose
# clock stands far from now has been seen before the database's clock was stepped.
_IN_FORCE = f"""
NOT EXISTS (
    SELECT FROM reliable_beat AS newer
    WHERE newer.id > %(beat)s AND newer.schedule <> %(schedule)s AND newer.stopped_at IS NULL
        AND abs(extract(epoch FROM newer.seen_at - clock_timestamp())) < {GONE_AFTER}
)
"""

BEGIN = """
INSERT INTO reliable_beat (host, release, schedule)
VALUES (%(host)s, %(release)s, %(schedule)s)
RETURNING id
"""

# No row: the beat was purged, or the database restored.
SEEN = f"""
UPDATE reliable_beat SET seen_at = clock_timestamp(), stopped_at = NULL
WHERE id = %(beat)s AND schedule = %(schedule)s AND {NOT_WAITING_FOR_THE_DISK}
RETURNING {_IN_FORCE}
"""

STOP = "UPDATE reliable_beat SET stopped_at = clock_timestamp() WHERE id = %(beat)s"

ENTRIES = """
SELECT name, timing, last_due, paused_at IS NOT NULL, removed_at IS NOT NULL, clock_timestamp()
FROM reliable_schedule
"""

# An entry is new, comes back or got another timing: it starts with the next tick, not with the
# past. So it does if its last tick lies in the future, since a clock was wrong by more than a day.
ADOPT = f"""
INSERT INTO reliable_schedule AS entry (name, timing, last_due)
SELECT name, timing, clock_timestamp()
FROM unnest(%(names)s::text[], %(timings)s::text[]) AS declared (name, timing)
WHERE {_IN_FORCE}
ON CONFLICT (name) DO UPDATE
SET timing = excluded.timing, last_due = excluded.last_due, removed_at = NULL
WHERE entry.timing <> excluded.timing OR entry.removed_at IS NOT NULL
    OR entry.last_due > clock_timestamp() + interval '1 day'
RETURNING name
"""

REMOVE = f"""
UPDATE reliable_schedule SET removed_at = clock_timestamp()
WHERE name <> ALL(%(names)s::text[]) AND removed_at IS NULL AND {_IN_FORCE}
RETURNING name
"""

# The tick, if nobody else has taken it, paused it or changed the entry since `seen` was read. The
# job's INSERT follows in the same transaction. A beat that is frozen between the two must not hold
# the entry: the database ends its session after five seconds, and another one takes the tick.
TICK = """
UPDATE reliable_schedule AS entry SET
    last_due = %(due)s, ticked_at = CASE WHEN %(runs)s THEN clock_timestamp() ELSE ticked_at END,
    last_tick = CASE WHEN %(runs)s THEN %(due)s ELSE last_tick END,
    last_job = CASE WHEN %(runs)s THEN NULL ELSE last_job END,
    missed = missed + %(missed)s,
    missed_at = CASE WHEN %(missed)s > 0 THEN clock_timestamp() ELSE missed_at END
WHERE name = (
    SELECT name FROM reliable_schedule
    WHERE name = %(name)s AND timing = %(timing)s
        AND last_due = %(seen)s AND last_due < %(due)s AND %(due)s <= clock_timestamp()
        AND paused_at IS NULL AND removed_at IS NULL
        AND set_config('idle_in_transaction_session_timeout', '5000', true) <> ''
    FOR UPDATE SKIP LOCKED
)
RETURNING name
"""

NOTE_JOB = "UPDATE reliable_schedule SET last_job = %(job)s WHERE name = %(name)s"

PURGE_ENTRIES = """
DELETE FROM reliable_schedule WHERE removed_at < clock_timestamp() - interval '30 days'
"""

# The last one stays, for `health.last_beat`.
PURGE_BEATS = """
DELETE FROM reliable_beat
WHERE seen_at < clock_timestamp() - interval '1 day'
    AND id <> (SELECT id FROM reliable_beat ORDER BY seen_at DESC LIMIT 1)
"""

LAST_BEAT = """
SELECT
    host, release, seen_at, stopped_at,
    greatest(0, extract(epoch FROM clock_timestamp() - seen_at))::float
FROM reliable_beat ORDER BY seen_at DESC LIMIT 1
"""

# --- People --------------------------------------------------------------------------------------

# A pause that is said again keeps its beginning.
PAUSE = """
UPDATE reliable_schedule SET
    paused_at = coalesce(paused_at, clock_timestamp()), paused_by = %(by)s
WHERE name = %(name)s
RETURNING paused_at
"""

# It goes on with the next tick: those of the pause were not missed.
RESUME = """
WITH paused AS (
    SELECT name, paused_at FROM reliable_schedule
    WHERE name = %(name)s AND paused_at IS NOT NULL FOR UPDATE
)
UPDATE reliable_schedule AS entry
SET paused_at = NULL, paused_by = '', last_due = greatest(entry.last_due, clock_timestamp())
FROM paused WHERE entry.name = paused.name
RETURNING paused.paused_at
"""
