"""`/drill?short_plain=2&report_durable=20`: how many of a short task, seconds of a long one."""

import uuid

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from drill.tasks import KINDS, LONG, note


@transaction.atomic
def drill(request: HttpRequest) -> JsonResponse:
    """Send what is asked for, and note it, in one transaction: what was answered was sent."""
    sent = []
    for kind, value in request.GET.items():
        long = kind in LONG
        for _ in range(1 if long else int(value)):
            task = str(uuid.uuid4())
            note(task, kind, "sent")
            KINDS[kind].delay(task, *([float(value)] if long else []))
            sent.append(task)
    return JsonResponse({"release": settings.RELEASE, "sent": sent})


urlpatterns = [path("drill", drill)]
