"""Errors to Sentry, with the ids of the log lines and without the values of a task's arguments.

Reference: https://docs.sentry.io/platforms/python/configuration/options/
"""

from typing import Any

from celery import current_task
from django.core.exceptions import ImproperlyConfigured
from structlog.contextvars import get_contextvars

from reliable.logging import process_name
from reliable.redaction import redacted


def report_errors(dsn: str, *, release: str) -> None:
    """Report each error once, from web and workers; a Sentry that is down delays nothing.

    Raises ImproperlyConfigured if `dsn` is no address; its secret stays out of the message.
    """
    # Only here: a project without Sentry pays nothing for it.
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.logging import ignore_logger
    from sentry_sdk.utils import BadDsn

    # Their lines say what is reported anyway. gunicorn's parent, besides, must not send from a
    # thread while it forks.
    said_twice = ("django_structlog.middlewares.request", "multiprocessing")
    ours = ("reliable.logging", "reliable.jobs", "reliable.probes.changes")
    for logger in (*ours, *said_twice, "gunicorn.error"):
        ignore_logger(logger)
    try:
        sentry_sdk.init(
            dsn=dsn,
            release=release,
            integrations=[DjangoIntegration(), CeleryIntegration()],
            before_send=_with_ids,
            # Personal data is left out by default. Breadcrumbs are the log lines and queries
            # before, with whatever those quote.
            max_breadcrumbs=0,
            include_local_variables=False,
            max_request_body_size="never",
            shutdown_timeout=2,
        )
    except BadDsn as error:
        raise ImproperlyConfigured(
            "SENTRY_DSN is no address of a Sentry project; write for example"
            " SENTRY_DSN=https://key@sentry.example.com/1."
        ) from error


def _with_ids(event: Any, hint: dict[str, Any]) -> Any:
    if event.get("logger") == "celery.worker.request" and "exc_info" not in hint:
        return None  # of a hard time limit, whose exception is reported
    ids = {key: str(value) for key, value in get_contextvars().items()}
    tags = {**ids, "process": process_name()}
    event["tags"] = {**(event.get("tags") or {}), **tags}
    event.get("request", {}).pop("query_string", None)
    if current_task:
        request = current_task.request
        for value in event.get("exception", {}).get("values", ()):
            value["value"] = redacted(value.get("value") or "", request.args, request.kwargs)
    return event
