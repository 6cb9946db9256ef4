"""Failed jobs, grouped by task, exception and place."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from reliable.jobs import sql_counts
from reliable.jobs.database import rows

#: Groups that are looked at, and jobs of each that are counted.
MOST_GROUPS = 200
MOST_COUNTED = 10_000

_EVER = datetime(1, 1, 1, tzinfo=UTC)


class Group(NamedTuple):
    """What failed for one reason. `jobs` is one more than MOST_COUNTED if they are more."""

    task: str
    exception: str
    place: str
    jobs: int
    first_seen: datetime
    last_seen: datetime
    last_id: UUID
    queue: str


def failed(since: datetime | None = None) -> tuple[list[Group], bool]:
    """The groups, the one that was seen last first; and whether there are more than these."""
    parameters = {
        "since": since or _EVER,
        "groups": MOST_GROUPS + 1,
        "most": MOST_COUNTED + 1,
    }
    found = [Group(*row) for row in rows(sql_counts.FAILED_GROUPS, parameters)]
    newest = sorted(found, key=lambda group: group.last_seen, reverse=True)
    return newest[:MOST_GROUPS], len(found) > MOST_GROUPS
