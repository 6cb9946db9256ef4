"""Small tables of what ran: counts by hour, queue and task, in buckets that percentiles come from.

A relay tallies what has ended since the last time, in one transaction with the mark up to which it
has come, so that a relay which is killed counts nothing twice and nothing never.

What ended is ordered by `finished_at`, which is set before its commit. So the mark stops before the
beginning of the oldest transaction that is open and has written: what it may still commit ended
after that. A transaction may hold the mark back for a quarter of an hour, and no body takes that
long in one. Not counted: a dead job that somebody retries or discards within the seconds until the
tally (its failed attempts are), and what ends while the database's clock is set back.

Buckets grow by a fifth, so that a percentile is at most a tenth off.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from reliable.jobs.database import Session, rows

#: Seconds that counts are kept.
KEPT = 30 * 86400
#: What a bucket's upper end is to its lower.
GROWTH = 1.2
# Seconds: what has ended since is not tallied yet; an open transaction holds the tally back for so
# long at most; and so much is tallied in one statement, after all relays were down.
_LAG, _LONGEST_TRANSACTION, _AT_ONCE = 10, 900, 300

_MARK = "SELECT until FROM reliable_tally_mark FOR UPDATE"

_BEGIN = "INSERT INTO reliable_tally_mark (id, until) VALUES (1, now()) ON CONFLICT DO NOTHING"

# Of other roles' transactions PostgreSQL does not say when they began, unless one may read that.
_HORIZON = f"""
SELECT least(
    %(mark)s::timestamptz + interval '{_AT_ONCE} seconds',
    now() - interval '{_LAG} seconds',
    greatest(
        (
            SELECT coalesce(min(xact_start), now()) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_xid IS NOT NULL
                AND pid <> pg_backend_pid()
        ),
        now() - interval '{_LONGEST_TRANSACTION} seconds'
    )
)
"""  # noqa: S608

# A tenth of a millisecond is nothing.
_BUCKET = f"floor(ln(greatest(extract(epoch FROM {{}})::float, 0.0001)) / ln({GROWTH}))::smallint"
_WAITED, _RAN = _BUCKET.format("started_at - run_at"), _BUCKET.format("finished_at - started_at")

# Indexes: reliable_job_finished, reliable_attempt_ended.
TALLY = f"""
WITH ended AS (
    SELECT date_trunc('hour', finished_at, 'UTC') AS hour, queue, task, measure.*
    FROM reliable_job,
    LATERAL (VALUES ('waited', {_WAITED}), ('ran', {_RAN})) AS measure (kind, bucket)
    WHERE state = 'succeeded' AND finished_at >= %(mark)s AND finished_at < %(until)s
        AND started_at IS NOT NULL
    UNION ALL
    SELECT date_trunc('hour', ended_at, 'UTC'), queue, task,
        CASE WHEN outcome IN ('snoozed', 'shut down', 'misfit') THEN 'put off' ELSE 'failed' END, 0
    FROM reliable_attempt JOIN reliable_job AS job ON job.id = job_id
    WHERE ended_at >= %(mark)s AND ended_at < %(until)s
    UNION ALL
    SELECT date_trunc('hour', finished_at, 'UTC'), queue, task, 'dead', 0
    FROM reliable_job
    WHERE state = 'failed' AND finished_at >= %(mark)s AND finished_at < %(until)s
)
INSERT INTO reliable_tally AS tally (hour, queue, task, kind, bucket, count)
SELECT hour, queue, task, kind, bucket, count(*) FROM ended GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (hour, queue, task, kind, bucket) DO UPDATE SET count = tally.count + excluded.count
"""  # noqa: S608

_ADVANCE = "UPDATE reliable_tally_mark SET until = %(until)s"

_FORGET = """
DELETE FROM reliable_tally WHERE (hour, queue, task, kind, bucket) IN (
    SELECT hour, queue, task, kind, bucket FROM reliable_tally
    WHERE hour < now() - %(seconds)s * interval '1 second' ORDER BY hour LIMIT %(limit)s
)
"""

# Index: the primary key.
_COUNTS = """
SELECT hour, queue, task, kind, bucket, count FROM reliable_tally
WHERE hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC')
    AND (%(queue)s::text IS NULL OR queue = %(queue)s)
"""


def tally(session: Session) -> None:
    """Count what has ended since the last time; in the caller's transaction, and under its lock."""
    marks = session.rows(_MARK)
    if not marks:
        session.execute(_BEGIN)
        return
    [(mark,)] = marks
    [(until,)] = session.rows(_HORIZON, {"mark": mark})
    if until > mark:
        session.execute(TALLY, {"mark": mark, "until": until})
        session.execute(_ADVANCE, {"until": until})
    session.execute(_FORGET, {"seconds": KEPT, "limit": 500})


@dataclass
class Counts:
    """What ran in a time: `waited` and `ran` by bucket, of the runs that succeeded.

    failed: attempts with an exception, a time limit, a lost process. dead: jobs that have failed
    for good.
    """

    waited: dict[int, int] = field(default_factory=dict)
    ran: dict[int, int] = field(default_factory=dict)
    failed: int = 0
    dead: int = 0

    def add(self, kind: str, bucket: int, count: int) -> None:
        if kind in {"waited", "ran"}:
            buckets: dict[int, int] = getattr(self, kind)
            buckets[bucket] = buckets.get(bucket, 0) + count
        elif kind in {"failed", "dead"}:
            setattr(self, kind, getattr(self, kind) + count)

    @property
    def succeeded(self) -> int:
        return sum(self.ran.values())

    def summary(self) -> dict[str, Any]:
        """Runs, failures, and percentiles in seconds; None where nothing ran."""
        return {
            "runs": self.succeeded + self.failed,
            "failures": self.failed,
            "dead": self.dead,
            **{
                f"{kind}_p{percent}": percentile(buckets, percent)
                for kind, buckets in (("waited", self.waited), ("ran", self.ran))
                for percent in (50, 95, 99)
            },
        }


def percentile(buckets: dict[int, int], percent: float) -> float | None:
    """Seconds that so many percent do not exceed: the middle of the bucket, a tenth off at most."""
    rank = math.ceil(sum(buckets.values()) * percent / 100)
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            return float(GROWTH ** (bucket + 0.5))
    return None


def by_task(since: datetime) -> list[dict[str, Any]]:
    """Each task's and queue's runs since the beginning of that hour."""
    return _summaries(("task", "queue"), _counts(since))


def by_queue(since: datetime) -> list[dict[str, Any]]:
    """Each queue's runs since the beginning of that hour."""
    return _summaries(("queue",), _counts(since))


def by_hour(queue: str, hours: int = 24) -> list[dict[str, Any]]:
    """A queue's last hours, the oldest first and the current one last: for a chart.

    Each has `hour`, and what `Counts.summary` says; an hour in which nothing ran is there too.
    """
    now = timezone.now()
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    found = {first + timedelta(hours=number): Counts() for number in range(hours)}
    for row in _counts(first, queue):
        if row["hour"] in found:
            found[row["hour"]].add(row["kind"], row["bucket"], row["count"])
    return [{"hour": hour, **counts.summary()} for hour, counts in found.items()]


def _counts(since: datetime, queue: str | None = None) -> list[dict[str, Any]]:
    names = ("hour", "queue", "task", "kind", "bucket", "count")
    found = rows(_COUNTS, {"since": since, "queue": queue})
    return [dict(zip(names, row, strict=True)) for row in found]


def _summaries(names: tuple[str, ...], counted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], Counts] = {}
    for row in counted:
        key = tuple(row[name] for name in names)
        found.setdefault(key, Counts()).add(row["kind"], row["bucket"], row["count"])
    return [
        {**dict(zip(names, key, strict=True)), **counts.summary()}
        for key, counts in sorted(found.items())
    ]
