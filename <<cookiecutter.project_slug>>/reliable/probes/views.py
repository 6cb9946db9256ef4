"""Endpoints for load balancers, supervisors and whoever watches from outside. None starts Celery.

`/healthz`: the process lives; touches nothing. `/readyz`: it can serve. `/health/queues`: each
queue moves, which a load balancer must not ask. `/metrics`: the same and more, for Prometheus.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from reliable.probes import access, readiness
from reliable.probes.health import Health, health, names
from reliable.probes.states import Kind

View = Callable[..., HttpResponse]

_REFUSED = (
    "Send the header `Authorization: Bearer TOKEN` with the token of RELIABLE_HEALTH, or ask from"
    " an internal network."
)


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    problems = readiness.problems()
    each = {name: problems.get(name, "ok") for name in ("database", "migrations", "cache")}
    if "database" in problems:
        each["migrations"] = "unknown"
    status = "failing" if problems else "ok"
    return JsonResponse({"status": status, **each}, status=503 if problems else 200)


def _for_us(view: View) -> View:
    """403 to strangers, 503 while the database is away; no stack trace in either."""

    @require_safe
    @never_cache
    @wraps(view)
    def answer(request: HttpRequest, **named: Any) -> HttpResponse:
        if not access.allowed(request):
            return JsonResponse({"status": "refused", "why": _REFUSED}, status=403)
        try:
            return view(request, **named)
        except Error as error:
            why = f"The database does not answer ({type(error).__name__}), so nothing is known."
            return JsonResponse({"status": "failing", "why": why}, status=503)

    return answer


@_for_us
def queues(request: HttpRequest) -> HttpResponse:
    return _answer(health())


@_for_us
def queue(request: HttpRequest, name: str) -> HttpResponse:
    everything = health()
    known = names(everything.of(Kind.QUEUE))
    if name not in known:
        why = f"No queue {name!r} is watched; there are {', '.join(known) or 'none'}."
        return JsonResponse({"status": "unknown", "why": why}, status=404)
    return _answer(everything.only(name))


@_for_us
def metrics(request: HttpRequest) -> HttpResponse:
    # Only here: a project without Prometheus needs no library for it.
    from reliable.probes.metrics import scraped

    answer = scraped(request.headers.get("Accept", ""))
    return HttpResponse(answer.body, content_type=answer.content_type)


def _answer(how: Health) -> HttpResponse:
    return JsonResponse(how.document(), status=503 if how.failing else 200)
