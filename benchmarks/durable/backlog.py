"""What a backlog costs: to publish and to claim a job, with a million waiting beside a thousand.

Two databases on one server, in turns. What is taken is finished, and as much is added.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

from durable.figures import Figure, in_turns, medians, say
from durable.stage import Stage

BATCH = 100
# Rows of one INSERT of the fill.
CHUNK = 100_000

# Ids and times in one order, as those of real jobs are.
FILL = """
INSERT INTO reliable_job (id, task, queue, args, run_at)
SELECT
    ('0197' || lpad(to_hex(n), 8, '0') || '7' || substr(md5(n::text), 1, 19))::uuid,
    'durable.tasks.durable_noop', 'default', jsonb_build_array(n),
    now() - interval '1 day' + n * interval '1 millisecond'
FROM generate_series(%s::bigint, %s::bigint) AS n
"""


def measure(stage: Stage) -> list[Figure]:
    from django.db import connection

    stage.clear()
    connection.close()  # a database that somebody uses is not copied
    backlogs = {}
    try:
        for name, count in (("few", stage.sizes.few), ("many", stage.sizes.many)):
            stage.system.servers.clone_database("measured", name)
            backlogs[name] = Backlog(name)
            backlogs[name].fill(count)
        contestants: dict[str, Callable[[], float]] = {
            name: backlog.take for name, backlog in backlogs.items()
        }
        in_turns(contestants, range(5))
        for backlog in backlogs.values():
            backlog.parts.clear()
        found = medians(in_turns(contestants, range(stage.sizes.batches)))
    finally:
        for backlog in backlogs.values():
            backlog.close()
    for name, backlog in backlogs.items():
        parts = medians(
            {
                "publish": [part[0] for part in backlog.parts],
                "claim": [part[1] for part in backlog.parts],
            }
        )
        say(
            f"  {backlog.count:>9,} waiting: {found[name] * 1e6:6.0f} µs a job (publish"
            f" {parts['publish'] * 1e6:.0f}, claim {parts['claim'] * 1e6:.0f})"
        )
    what = f"publish and claim, {stage.sizes.many:,} waiting"
    ratio = found["many"] / found["few"]
    return [Figure(what, f"{stage.sizes.few:,} waiting", ratio, 1.2)]


class Backlog:
    """One database, a relay without a broker, and a worker without bodies."""

    def __init__(self, alias: str) -> None:
        from celery import current_app
        from reliable.jobs.database import Session
        from reliable.jobs.relay import Relay

        self.session = Session(alias)
        self.relay: Any = Relay(current_app, ["default"])
        self.relay.session = Session(alias)
        self.worker = uuid.uuid4()
        self.count = 0
        self.parts: list[tuple[float, float]] = []
        self._last = 0

    def fill(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            self._add(min(CHUNK, count - start))
            if count > CHUNK:
                say(f"  {self._last:,} of {count:,} jobs inserted")
        self.count = count
        # As autovacuum does after so many.
        self.session.execute("VACUUM (ANALYZE) reliable_job")
        self.session.execute("CHECKPOINT")

    def take(self) -> float:
        """Publish and claim a batch; return the seconds a job. Then finish it, and add as many."""
        from reliable.jobs import sql

        lane = self.relay.lanes["default"]
        begun = time.perf_counter()
        offers = self.relay._due(  # noqa: SLF001 - without the broker there is no public way
            lane, BATCH, from_start=time.monotonic() >= lane.next_start
        )
        published = time.perf_counter()
        claims = [self._claim(offer.id) for offer in offers]
        claimed = time.perf_counter()
        if len(claims) != BATCH:
            raise SystemExit(f"{len(claims)} of {BATCH} jobs were due.")
        for job_id, claim_no in claims:
            fence = {"id": job_id, "claim_no": claim_no, "worker": self.worker, "result": "null"}
            if self.session.execute(sql.FINISH, fence).rowcount != 1:
                raise SystemExit(f"job {job_id} was not finished")
        self._add(BATCH)
        self.parts.append(((published - begun) / BATCH, (claimed - published) / BATCH))
        return sum(self.parts[-1])

    def close(self) -> None:
        self.session.close()
        self.relay.close()

    def _claim(self, job_id: uuid.UUID) -> tuple[uuid.UUID, int]:
        from reliable.jobs import sql
        from reliable.jobs.runner import DEADLINE_MARGIN

        parameters = {
            "id": job_id,
            "worker": self.worker,
            "margin": DEADLINE_MARGIN,
            "release": "a",
            "pooled": False,
        }
        [row] = self.session.rows(sql.CLAIM, parameters)
        return job_id, int(row[0])

    def _add(self, count: int) -> None:
        first, self._last = self._last + 1, self._last + count
        raw = self.session.raw
        raw.execute(FILL.encode(), [first, self._last])
