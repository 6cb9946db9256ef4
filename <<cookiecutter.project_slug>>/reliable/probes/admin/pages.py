"""The page, the part of it that is fetched again, and what its buttons do."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from reliable import provider, queues
from reliable.probes.admin.overview import overview
from reliable.probes.models import Target
from reliable.probes.numbers import MOST_COUNTED, counted
from reliable.provider import FailedGroup, Provider

View = Callable[..., HttpResponse]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Target]
else:  # of Django itself it takes no type
    _ModelAdmin = admin.ModelAdmin

_PAGE = "admin:reliable_probes_target_changelist"
_OPERATE = "reliable_probes.operate_target"

# Seconds between two looks of an open page.
_EVERY = 5
_LONGEST_REASON = 500

#: For how long a queue may be paused here: what the form says, and seconds.
_PAUSES = {
    "15 minutes": 900.0,
    "1 hour": 3600.0,
    "8 hours": 28800.0,
    "until somebody resumes it": None,
}
_DONE = {"retry": "retried", "discard": "discarded"}


@admin.register(Target)
class OperationsAdmin(_ModelAdmin):
    """One page to look at, with operations and no forms. Who may operate may look, too."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(_OPERATE)

    def get_urls(self) -> list[URLPattern]:
        see, do = self._viewed, self._operated
        return [
            self._route("", see(require_GET(self._page)), "changelist"),
            self._route("live/", see(require_GET(self._live)), "live"),
            self._route("probe/", do(require_POST(self._probe)), "probe"),
            self._route("pause/", do(require_http_methods(["GET", "POST"])(self._pause)), "pause"),
            self._route("resume/", do(require_POST(self._resume)), "resume"),
            self._route(
                "failed/", do(require_http_methods(["GET", "POST"])(self._failed)), "failed"
            ),
        ]

    # --- Looking ---------------------------------------------------------------------------------

    def _page(self, request: HttpRequest) -> HttpResponse:
        return self._shown(request, "operations", "Operations", **self._seen(request))

    def _live(self, request: HttpRequest) -> HttpResponse:
        return TemplateResponse(request, "admin/reliable_probes/_live.html", self._seen(request))

    def _seen(self, request: HttpRequest) -> dict[str, Any]:
        now = overview()
        return {
            "now": now,
            "groups": [(group, _digest(group)) for group in now.failed or []],
            "most": MOST_COUNTED,
            "may_operate": request.user.has_perm(_OPERATE),
            "every": _EVERY,
        }

    # --- Queues ----------------------------------------------------------------------------------

    def _probe(self, request: HttpRequest) -> HttpResponse:
        from reliable.probes.admin import asking  # Celery, which looking needs not

        queue = request.POST.get("queue", "")
        try:
            asked = asking.ask(queue)
        except LookupError as error:
            messages.error(request, str(error.args[0]))
            return _back()
        (messages.success if asked.answered else messages.warning)(request, asked.says)
        _audit(request, queue, f"Probed: {asked.says}")
        return _back()

    def _pause(self, request: HttpRequest) -> HttpResponse:
        source = _source()
        queue = _declared(request)
        if request.method == "GET":
            return self._shown(
                request, "pause", f"Pause {queue}", queue=queue, pauses=list(_PAUSES)
            )
        why = request.POST.get("why", "").strip()
        lasts = request.POST.get("lasts", "")
        if lasts not in _PAUSES or len(why) > _LONGEST_REASON or not why.isprintable():
            messages.error(
                request,
                f"Nothing was paused: choose one of {', '.join(_PAUSES)}, and write one line of at"
                f" most {_LONGEST_REASON} characters.",
            )
            return _back()
        source.pause(queue, by=_who(request), why=why, seconds=_PAUSES[lasts])
        until = lasts if _PAUSES[lasts] is None else f"for {lasts}"
        says = f"The queue {queue} is paused {until}. What runs comes to its end."
        _audit(request, queue, f"{says} {why}".strip())
        messages.success(request, says)
        return _back()

    def _resume(self, request: HttpRequest) -> HttpResponse:
        source = _source()
        queue = request.POST.get("queue", "")
        if queue not in {*queues.declared(), *source.paused()}:
            raise Http404(f"There is no queue {queue!r}.")
        source.resume(queue, by=_who(request))
        says = f"The queue {queue} goes on."
        _audit(request, queue, says)
        messages.success(request, says)
        return _back()

    # --- Dead letters ----------------------------------------------------------------------------

    def _failed(self, request: HttpRequest) -> HttpResponse:
        source = _source()
        data = request.GET if request.method == "GET" else request.POST
        operation = data.get("do", "")
        if operation not in _DONE:
            raise Http404(f"There is no operation {operation!r}; there are {', '.join(_DONE)}.")
        wanted = data.get("group", "")
        group = next((each for each in source.failed() if _digest(each) == wanted), None)
        if group is None:
            messages.info(request, "Of these none is left: somebody else was quicker.")
            return _back()
        if group.count >= MOST_COUNTED:
            # One request would take minutes.
            messages.error(
                request, f"These are {counted(group.count)}: too many to {operation} at once here."
            )
            return _back()
        if request.method == "GET":
            return self._shown(
                request,
                "failed",
                f"{operation.capitalize()} failed jobs",
                group=group,
                digest=wanted,
                do=operation,
                done=_DONE[operation],
            )
        act = source.retry if operation == "retry" else source.discard
        number = act(group.key, by=_who(request))
        says = f"{number:,} job{'' if number == 1 else 's'} {_DONE[operation]}: {group.task}, "
        says += group.error or "without a word of why"
        _audit(request, f"{number:,} jobs {_DONE[operation]}", f"{says}.")
        messages.success(request, f"{says}.")
        return _back()

    # --- Both ------------------------------------------------------------------------------------

    def _shown(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        frame = {**self.admin_site.each_context(request), "title": title, "opts": self.opts}
        name = f"admin/reliable_probes/{template}.html"
        return TemplateResponse(request, name, {**frame, **context})

    def _viewed(self, view: View) -> View:
        return self._checked(view, self.has_view_permission)

    def _operated(self, view: View) -> View:
        return self._checked(view, lambda request: request.user.has_perm(_OPERATE))

    def _checked(self, view: View, may: Callable[[HttpRequest], bool]) -> View:
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not may(request):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return self.admin_site.admin_view(checked)

    def _route(self, route: str, view: View, name: str) -> URLPattern:
        return path(route, view, name=f"reliable_probes_target_{name}")


def _source() -> Provider:
    source = provider.registered()
    if source is None:
        raise Http404("This project has no durable tasks.")
    return source


def _declared(request: HttpRequest) -> str:
    queue: str = (request.GET if request.method == "GET" else request.POST).get("queue", "")
    if queue not in queues.declared():
        raise Http404(f"The queue {queue!r} is not declared.")
    return queue


def _digest(group: FailedGroup) -> str:
    """For addresses and forms, which would change the line ends of a key."""
    return hashlib.sha256(group.key.encode()).hexdigest()[:20]


def _who(request: HttpRequest) -> str:
    return request.user.get_username()


def _back() -> HttpResponse:
    """To the top, where what came of it is said."""
    return HttpResponseRedirect(reverse(_PAGE))


def _audit(request: HttpRequest, about: str, message: str) -> None:
    """A line in the admin's log."""
    line: dict[str, Any] = {
        "content_type": ContentType.objects.get_for_model(Target),
        "object_id": about[:200],
        "user_id": request.user.pk,
        "object_repr": about[:200],
        "action_flag": CHANGE,
        "change_message": message,
    }
    LogEntry.objects.create(**line)
