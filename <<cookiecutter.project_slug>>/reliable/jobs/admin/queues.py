"""Queues: what waits and runs, pause and resume, a limit."""

from collections.abc import Callable, Mapping

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, reverse
from django.views.decorators.http import require_GET, require_POST

from reliable.jobs import loads, operations, times
from reliable.jobs.admin.pages import Pages, audit
from reliable.jobs.models import Queue
from reliable.jobs.selection import text
from reliable.jobs.times import Refused


@admin.register(Queue)
class QueueAdmin(Pages):
    """What `manage.py jobs pause`, `resume` and `limit` do, for a browser."""

    operate = "operate_queue"

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("", self.viewed(require_GET(self._list)), "queue_changelist"),
            self.route("operate/", self.operated(require_POST(self._operate)), "queue_operate"),
        ]

    def _list(self, request: HttpRequest) -> HttpResponse:
        return self.page(
            request,
            "queues",
            "Queues",
            queues=[
                (each, operations.why_paused(each.said) if each.said.paused_at else "")
                for each in loads.loads()
            ],
            most=loads.MOST_COUNTED,
        )

    def _operate(self, request: HttpRequest) -> HttpResponse:
        queue = request.POST.get("queue", "")
        try:
            operation = _OPERATIONS.get(request.POST.get("operation", ""), _unknown)
            said = operation(queue, request.POST, request.user.get_username())
        except Refused as refused:
            messages.error(request, str(refused))
        else:
            audit(request, Queue(name=queue), queue, said)
            messages.success(request, said)
        return HttpResponseRedirect(reverse("admin:reliable_jobs_queue_changelist"))


def _pause(queue: str, data: QueryDict, by: str) -> str:
    why = data.get("why", "").strip()
    if why:
        text("Why", why)
    end = data.get("end", "").strip()
    lasts = end and end[-1:].isalpha()
    paused = operations.pause(
        queue,
        by=by,
        why=why,
        seconds=times.seconds("For", end) if lasts else None,
        until=times.future("Until", end) if end and not lasts else None,
    )
    until = f"until {times.local(paused.until)}" if paused.until else "until somebody resumes it"
    return f"The queue {queue} is paused {until}. What runs comes to its end."


def _resume(queue: str, data: QueryDict, by: str) -> str:
    was = operations.resume(queue, by=by)
    if was is None:
        return f"The queue {queue} was not paused."
    return f"The queue {queue} goes on; it was paused since {times.local(was.since)}."


def _limit(queue: str, data: QueryDict, by: str) -> str:
    said = data.get("limit", "").strip()
    if said and not said.isdecimal():
        raise Refused(f"Limit {said!r} is no number; write for example 4, or nothing for none.")
    limit = int(said) if said else None
    operations.limit(queue, limit=limit, by=by)
    if limit is None:
        return f"The queue {queue} has no limit."
    return f"Of the queue {queue} at most {limit:,} run at once, over all hosts."


def _unknown(queue: str, data: QueryDict, by: str) -> str:
    raise Refused(f"There is no such operation of queues; there are {', '.join(_OPERATIONS)}.")


_OPERATIONS: Mapping[str, Callable[[str, QueryDict, str], str]] = {
    "pause": _pause,
    "resume": _resume,
    "limit": _limit,
}
