"""Failed jobs to Sentry, where the project has set it up: once each, without what is secret."""

import sys
from typing import Any
from uuid import UUID

from reliable.jobs.transitions import job_failed
from reliable.redaction import without_secrets


def connect() -> None:
    """Report what `job_failed` says. Without the SDK it costs nothing."""
    job_failed.connect(_report, dispatch_uid="reliable.jobs.reporting")


def _report(
    sender: str, job_id: UUID, reason: str, error: BaseException | None, secrets: Any, **_: Any
) -> None:
    sdk = sys.modules.get("sentry_sdk")
    if sdk is None or not sdk.is_initialized():
        return

    def redact(event: Any, hint: Any) -> Any:
        for value in event.get("exception", {}).get("values", ()):
            value["value"] = without_secrets(value.get("value") or "", secrets)
        return event

    with sdk.new_scope() as scope:
        scope.set_tag("job_id", str(job_id))
        scope.set_tag("task", sender)
        scope.add_event_processor(redact)
        if error is None:
            scope.capture_message(f"{sender} has failed: {reason}", level="error")
        else:
            scope.capture_exception(error)
