"""What the admin's pages of jobs share: who may see and do what, and how a page is made."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from celery import current_app
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from reliable import startup
from reliable.jobs.models import Job, Queue, Schedule

View = Callable[..., HttpResponse]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # of Django itself it takes no type
    _ModelAdmin = admin.ModelAdmin


class Pages(_ModelAdmin):
    """Rows that are looked at, and changed by operations alone: no add, no form, no delete.

    Who may operate may look, too.
    """

    #: The permission to change something, of this app.
    operate: ClassVar[str] = ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self.may_operate(request)

    def may_operate(self, request: HttpRequest) -> bool:
        return bool(self.operate) and _has(request, self.operate)

    def viewed(self, view: View) -> View:
        """The view for those who may look."""

        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            # A web process has loaded the tasks of what it has served so far, and no others.
            startup.load_tasks(current_app)
            return view(request, *args, **kwargs)

        return self.admin_site.admin_view(checked)

    def operated(self, view: View) -> View:
        """The view for those who may operate."""

        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.may_operate(request):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return self.viewed(checked)

    def page(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> TemplateResponse:
        """One of the templates here, in the admin's frame."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "tabs": self._tabs(request),
            "may_operate": self.may_operate(request),
            **context,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"admin/reliable_jobs/{template}.html", context)

    def route(self, route: str, view: View, name: str) -> URLPattern:
        return path(route, view, name=f"reliable_jobs_{name}")

    def _tabs(self, request: HttpRequest) -> list[tuple[str, str]]:
        """What this person may see: names of addresses with their words."""
        tabs = []
        if self._sees(request, Job, "operate_job"):
            tabs += [
                ("admin:reliable_jobs_job_changelist", "Jobs"),
                ("admin:reliable_jobs_job_groups", "Failures"),
                ("admin:reliable_jobs_job_changes", "Changes"),
            ]
        if self._sees(request, Queue, "operate_queue"):
            tabs.append(("admin:reliable_jobs_queue_changelist", "Queues"))
        if self._sees(request, Schedule, "operate_schedule"):
            tabs.append(("admin:reliable_jobs_schedule_changelist", "Schedule"))
        return tabs

    def _sees(self, request: HttpRequest, model: type[models.Model], operate: str) -> bool:
        name = model._meta.model_name  # noqa: SLF001 - Django's own way to it
        return _has(request, f"view_{name}") or _has(request, operate)


def _has(request: HttpRequest, permission: str) -> bool:
    return request.user.has_perm(f"reliable_jobs.{permission}")


def audit(
    request: HttpRequest, about: models.Model, what: str, message: str, *, again: bool = False
) -> None:
    """Write a line into the admin's log; `again` replaces the one about the same thing.

    what: it stands in the list of recent actions.
    """
    line: dict[str, Any] = {
        "content_type": ContentType.objects.get_for_model(about),
        "object_id": str(about.pk),
        "user_id": request.user.pk,
    }
    said: dict[str, Any] = {
        "object_repr": what[:200],
        "action_flag": CHANGE,
        "change_message": message,
    }
    if again:
        LogEntry.objects.update_or_create(**line, defaults=said)
    else:
        LogEntry.objects.create(**line, **said)
