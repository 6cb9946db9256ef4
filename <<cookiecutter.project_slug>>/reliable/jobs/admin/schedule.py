"""The schedule in the admin: last, next and missed ticks; pause, resume, run now."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from kombu.exceptions import OperationalError

from reliable.jobs.models import Schedule
from reliable.jobs.schedule import operations, report
from reliable.jobs.schedule.health import last_beat
from reliable.jobs.schedule.status import Status, status
from reliable.jobs.times import Refused


@admin.register(Schedule)
class ScheduleAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # generic in its stubs alone
    """Entries that a beat has seen. What they declare is changed in config/schedule.py."""

    list_display = ("name", "task", "when", "last", "next", "missed", "state")
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("pause", "resume", "run_now")
    fields = (
        *("name", "task", "when", "missed_ticks", "state"),
        *("last", "ticked_at", "last_job", "next", "missed", "missed_at"),
    )

    # --- Who may ---------------------------------------------------------------------------------

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reliable_jobs.operate_schedule")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_operate_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- What it shows ---------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        rows: QuerySet[Schedule] = super().get_queryset(request)
        return rows.annotate(now=Now())

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        more = {"beat": report.last_beat(last_beat()), **(extra_context or {})}
        return super().changelist_view(request, more)

    @admin.display(empty_value="-")
    def task(self, row: Schedule) -> str | None:
        return _status(row).task or None

    def when(self, row: Schedule) -> str:
        return _status(row).timing

    @admin.display(ordering="last_tick")
    def last(self, row: Schedule) -> datetime | None:
        return row.last_tick

    def next(self, row: Schedule) -> datetime | None:
        return _status(row).next

    @admin.display(description="when a tick was missed")
    def missed_ticks(self, row: Schedule) -> str:
        return _status(row).missed_ticks

    def state(self, row: Schedule) -> str:
        return report.state(_status(row))

    # --- What it does ----------------------------------------------------------------------------

    @admin.action(permissions=["operate"], description="Pause: no tick until somebody resumes it")
    def pause(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, operations.pause, "Paused")

    @admin.action(permissions=["operate"], description="Resume with the next tick")
    def resume(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, operations.resume, "Resumed")

    @admin.action(permissions=["operate"], description="Run now, once, beside its ticks")
    def run_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, operations.run_now, "Run now")

    def _each(
        self,
        request: HttpRequest,
        queryset: QuerySet[Schedule],
        operation: Callable[..., Any],
        done: str,
    ) -> None:
        for row in queryset:
            try:
                answer = operation(row.name, by=request.user.get_username())
            except Refused as refused:
                self.message_user(request, str(refused), messages.ERROR)
            except OperationalError as error:
                said = f"{row.name}: the broker says: {error}"
                self.message_user(request, said, messages.ERROR)
            else:
                what = f"{done}: {answer}" if isinstance(answer, operations.Started) else done
                self.log_change(request, row, f"{what}.")
                self.message_user(request, f"{row.name}: {what.lower()}.", messages.SUCCESS)


def _status(row: Any) -> Status:
    return status(row.name, row, getattr(row, "now", None) or timezone.now())
