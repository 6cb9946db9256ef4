"""The list of jobs, one of them in full, failed groups, and changes of many."""

from dataclasses import replace
from datetime import datetime

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from reliable import queues
from reliable.jobs import browse, changes, groups, inspection, operations, times
from reliable.jobs.admin import filters, timeline
from reliable.jobs.admin.filters import Filters
from reliable.jobs.admin.pages import Pages, audit
from reliable.jobs.durable import registry
from reliable.jobs.models import Change, Job
from reliable.jobs.operations import OPERATIONS, Operation
from reliable.jobs.selection import Selection, job_id, text
from reliable.jobs.states import State
from reliable.jobs.times import Refused

_LIST = "admin:reliable_jobs_job_changelist"
_WINDOWS = ("1h", "3h", "24h", "3d", "7d")

# Jobs of a preview are counted up to here, if that can be done in so many seconds.
_MOST, _SECONDS = 1_000_000, 2.0
_FIRST = 10
_CHANGES = 50


@admin.register(Job)
class JobAdmin(Pages):
    """Everything about jobs that `manage.py jobs` does, for a browser."""

    operate = "operate_job"

    def get_urls(self) -> list[URLPattern]:
        see, do = self.viewed, self.operated
        slices = transaction.non_atomic_requests(do(require_POST(self._continue)))
        return [
            self.route("", see(require_GET(self._list)), "job_changelist"),
            self.route("groups/", see(require_GET(self._groups)), "job_groups"),
            self.route("changes/", see(require_GET(self._changes)), "job_changes"),
            self.route("changes/<int:number>/", see(require_GET(self._progress)), "job_progress"),
            self.route("changes/<int:number>/continue/", slices, "job_continue"),
            self.route("changes/<int:number>/stop/", do(require_POST(self._stop)), "job_stop"),
            self.route("preview/", do(require_GET(self._preview)), "job_preview"),
            self.route("begin/", do(require_POST(self._begin)), "job_begin"),
            self.route("<str:object_id>/change/", see(require_GET(self._detail)), "job_change"),
        ]

    # --- Looking ---------------------------------------------------------------------------------

    def _list(self, request: HttpRequest) -> HttpResponse:
        try:
            asked = filters.read(request.GET)
            page = browse.page(asked.selection, asked.search, request.GET.get("before", ""))
        except Refused as refused:
            messages.error(request, str(refused))
            asked = Filters(asked=filters.typed(request.GET))
            page = browse.Page([], "", None)
        counts = browse.state_counts()
        states = [
            ("", "all", None),
            *((name, name, counts.get(name)) for name in map(str, State)),
        ]
        return self.page(
            request,
            "list",
            "Jobs",
            asked=asked,
            fields=asked.asked,
            page=page,
            first=not request.GET.get("before"),
            older=asked.with_(before=page.before),
            states=[
                (label, count, asked.with_(state=name), asked.asked.get("state", "") == name)
                for name, label, count in states
            ],
            most=browse.MOST_COUNTED,
            tasks=sorted(registry),
            queues=sorted({*queues.declared(), *asked.selection.queues}),
            windows=_WINDOWS,
            narrowed=[
                (name, value, asked.without(name))
                for name, value in asked.asked.items()
                if name != "state"
            ],
            offered=_offered(asked.selection) if self.may_operate(request) else [],
            # What is shown of arguments decides on a match, and a statement does not know that.
            for_all=not asked.search.text,
            paused=[(each.name, operations.why_paused(each)) for each in operations.paused()],
            unfinished=changes.unfinished()[:3],
        )

    def _detail(self, request: HttpRequest, object_id: str) -> HttpResponse:
        try:
            found = inspection.details(job_id(object_id))
        except Refused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse(_LIST))
        state = State(found.job["state"])
        return self.page(
            request,
            "detail",
            found.job["task"],
            found=found,
            job=found.job,
            events=timeline.events(found),
            now=timezone.now(),
            offered=[each for each in OPERATIONS.values() if state in each.allowed]
            if self.may_operate(request)
            else [],
            more_children=found.children_in_all - len(found.children),
        )

    def _groups(self, request: HttpRequest) -> HttpResponse:
        window = request.GET.get("since", "")
        since: datetime | None = None
        try:
            since = times.past("Since", window) if window else None
        except Refused as refused:
            messages.error(request, str(refused))
            window = ""
        found, more = groups.failed(since)
        return self.page(
            request,
            "groups",
            "Failures",
            groups=[(each, _group_query(each, window)) for each in found],
            more=more,
            most=groups.MOST_COUNTED,
            most_groups=groups.MOST_GROUPS,
            window=window,
            windows=("", *_WINDOWS),
        )

    # --- Changing many ---------------------------------------------------------------------------

    def _preview(self, request: HttpRequest) -> HttpResponse:
        try:
            operation = _operation(request.GET.get("operation", ""))
            asked = filters.read(request.GET)
            selection = _meant(operation, asked, timezone.now())
        except Refused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse(_LIST))
        matched = _count(selection)
        first = browse.page(selection, browse.Search()).rows[:_FIRST] if matched != 0 else []
        return self.page(
            request,
            "preview",
            f"{operation.name.capitalize()} jobs",
            operation=operation,
            matched=matched,
            first=first,
            described=filters.described(selection),
            hidden=[*asked.hidden, ("at", selection.until.isoformat() if selection.until else "")],
            left_out=operations.left_out(asked.selection, selection),
            back=asked.query,
        )

    def _begin(self, request: HttpRequest) -> HttpResponse:
        try:
            operation = _operation(request.POST.get("operation", ""))
            why = request.POST.get("why", "").strip()
            if why:
                text("Why", why)
            at = request.POST.get("at") or timezone.now().isoformat()
            selection = _meant(operation, filters.read(request.POST), times.moment("At", at))
        except Refused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse(_LIST))
        by = request.user.get_username()
        reason = f"{operation.done} by {by}" + (f": {why}" if why else "")
        change = changes.begin(
            operation, selection, by=by, reason=reason, matched=_count(selection)
        )
        self._audit(request, change)
        return self._slice(request, change.pk)

    def _continue(self, request: HttpRequest, number: int) -> HttpResponse:
        get_object_or_404(changes.changes(), pk=number)
        return self._slice(request, number)

    def _slice(self, request: HttpRequest, number: int) -> HttpResponse:
        self._audit(request, changes.continued(number))
        return HttpResponseRedirect(reverse("admin:reliable_jobs_job_progress", args=[number]))

    def _stop(self, request: HttpRequest, number: int) -> HttpResponse:
        get_object_or_404(changes.changes(), pk=number)
        self._audit(request, changes.stopped(number))
        return HttpResponseRedirect(reverse("admin:reliable_jobs_job_progress", args=[number]))

    def _progress(self, request: HttpRequest, number: int) -> HttpResponse:
        change = get_object_or_404(changes.changes(), pk=number)
        return self.page(
            request,
            "progress",
            f"{change.operation.capitalize()} jobs",
            change=change,
            operation=OPERATIONS[change.operation],
            left=change.seen - change.changed,
            described=filters.described(Selection.from_json(change.selection)),
        )

    def _changes(self, request: HttpRequest) -> HttpResponse:
        return self.page(
            request,
            "changes",
            "Changes",
            changes=[
                (each, OPERATIONS[each.operation], filters.described(_selection(each)))
                for each in changes.changes().order_by("-id")[:_CHANGES]
            ],
            most=_CHANGES,
        )

    def _audit(self, request: HttpRequest, change: Change) -> None:
        done = OPERATIONS[change.operation].done
        asked = "; ".join(
            f"{word} {value}" for word, value in filters.described(_selection(change))
        )
        so_far = "" if change.ended_at and not change.stopped else " so far, and then it stopped"
        number = "1 job" if change.changed == 1 else f"{change.changed:,} jobs"
        message = f"{number} {done}{so_far} ({asked}). {change.reason}"
        audit(request, change, f"{number} {done}", message, again=True)


def _selection(change: Change) -> Selection:
    return Selection.from_json(change.selection)


def _operation(name: str) -> Operation:
    if name not in OPERATIONS:
        raise Refused(f"There is no operation {name!r}; there are {', '.join(OPERATIONS)}.")
    return OPERATIONS[name]


def _meant(operation: Operation, asked: Filters, now: datetime) -> Selection:
    """What the operation would change of it, and nothing that comes after `now`. Raises Refused."""
    if asked.search.text:
        raise Refused("A search finds jobs to be ticked; filters say which are meant at once.")
    selection = operations.narrowed(operation, asked.selection)
    wrong = [state for state in selection.states if state not in operation.allowed]
    if wrong:
        raise Refused(
            f"Jobs that are {wrong[0]} cannot be {operation.done}; those that can are"
            f" {', '.join(operation.allowed)}."
        )
    if selection.ids:
        return selection
    return replace(selection, until=min(selection.until or now, now))


def _offered(selection: Selection) -> list[Operation]:
    """What can be done to jobs of these states."""
    asked = set(selection.states) or set(State)
    return [each for each in OPERATIONS.values() if asked & set(each.allowed)]


def _count(selection: Selection) -> int | None:
    """How many; None if they are more than can be counted in time."""
    if selection.ids:
        return selection.jobs().count()
    found = browse.count(selection.jobs(), _MOST, _SECONDS)
    return None if found is None or found > _MOST else found


def _group_query(group: groups.Group, window: str) -> str:
    asked = {
        "state": str(State.FAILED),
        "task": group.task,
        "exception": group.exception,
        "place": group.place,
        **({"since": window} if window else {}),
    }
    return Filters(asked=asked).query
