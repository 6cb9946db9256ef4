"""What the operations page, metrics and probes get to know of jobs, and what they may do."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from reliable import provider
from reliable.jobs import groups, operations, sql, sql_counts, stats
from reliable.jobs.database import rows
from reliable.jobs.operations import OPERATIONS
from reliable.jobs.schedule.status import statuses
from reliable.jobs.selection import Selection, jobs
from reliable.jobs.states import State

# Between task, exception and place in the key of a group.
_BETWEEN = "\n"


class JobsProvider:
    """Answers for durable tasks; see `reliable.provider.Provider`."""

    def paused(self) -> Mapping[str, provider.Pause]:
        return {
            queue.name: provider.Pause(
                queue.paused_at, queue.paused_by, queue.paused_why, queue.paused_until
            )
            for queue in operations.paused()
            if queue.paused_at
        }

    def relays(self) -> Sequence[provider.Relay]:
        return [provider.Relay(*row) for row in rows(sql.RELAYS, {})]

    def queues(self) -> Mapping[str, provider.QueueStats]:
        return {
            name: provider.QueueStats(
                waiting=int(waiting),
                scheduled=int(scheduled),
                running=int(running),
                failed=int(failed),
                oldest=oldest if waiting else None,
                finished=int(finished),
            )
            for name, waiting, scheduled, running, failed, oldest, finished in rows(
                sql_counts.QUEUES, {"most": provider.MOST}
            )
        }

    def limits(self) -> Mapping[str, int]:
        return {queue.name: queue.limit for queue in operations.limited() if queue.limit}

    def running(self) -> Sequence[provider.Running]:
        return [
            provider.Running(
                id=str(job["id"]),
                task=job["task"],
                queue=job["queue"],
                worker=job["worker"] or "",
                seconds=job["seconds"],
                limit=job["time_limit"],
            )
            for job in stats.running()
        ]

    def failed(self) -> Sequence[provider.FailedGroup]:
        found, _ = groups.failed()
        return [
            provider.FailedGroup(
                key=_BETWEEN.join((group.task, group.exception, group.place)),
                task=group.task,
                error=f"{group.exception} {group.place}".strip(),
                count=group.jobs,
                first=group.first_seen,
                last=group.last_seen,
                example=str(group.last_id),
            )
            for group in found
        ]

    def schedule(self) -> Sequence[provider.Entry]:
        found = [entry for entry in statuses() if entry.removed_at is None]
        ended = _states([entry.last_job for entry in found if entry.last_job])
        return [
            provider.Entry(
                name=entry.name,
                task=entry.task,
                schedule=entry.timing,
                last_due=entry.last,
                next_due=entry.next,
                last_state=ended.get(entry.last_job, ""),
                paused=entry.paused_at is not None,
                overdue_since=entry.overdue_since,
                missed=entry.missed,
            )
            for entry in found
        ]

    def retry(self, key: str, *, by: str) -> int:
        return _change("retry", key, by)

    def discard(self, key: str, *, by: str) -> int:
        return _change("discard", key, by)

    def pause(self, queue: str, *, by: str, why: str = "", seconds: float | None = None) -> None:
        operations.pause(queue, by=by, why=why, seconds=seconds)

    def resume(self, queue: str, *, by: str) -> None:
        operations.resume(queue, by=by)


def _change(name: str, key: str, by: str) -> int:
    operation = OPERATIONS[name]
    task, exception, place = key.split(_BETWEEN)
    selection = Selection(states=(State.FAILED,), tasks=(task,), exception=exception, place=place)
    reason = f"{operation.done} by {by}"
    return sum(batch.changed for batch in operations.change(operation, selection, reason))


def _states(ids: list[UUID]) -> dict[UUID | None, str]:
    return dict(jobs().filter(id__in=ids).values_list("id", "state"))
