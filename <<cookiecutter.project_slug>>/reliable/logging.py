"""Logs that follow a request: each line says for which request and which task it was written.

    LOGGING = reliable.logging.configuration(json=not DEBUG, level="INFO", release=RELEASE)
    MIDDLEWARE = [..., "reliable.logging.RequestMiddleware", ...]

A request's id is made by the proxy (`X-Request-ID`) or here. It is bound to the thread by
django-structlog's middleware and travels with each task: through the dispatch after a commit,
retries and chains. Lines of structlog and of the standard library take the same way out.
"""

import os
import re
import time
import traceback
from typing import Any

import structlog
from celery import Task, signals
from django.http import HttpRequest, HttpResponse
from django_structlog import middlewares
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from reliable.redaction import redacted

logger = structlog.stdlib.get_logger(__name__)

# What a proxy may hand in. Anything else could fill each line of a request with a client's text.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# The message header that carries the ids; django-structlog's name for it.
_HEADER = "__django_structlog__"

# Celery's own lines about a task, which this module writes with the ids and without the values.
_SAID_HERE = {"celery.app.trace": "CRITICAL", "celery.worker.strategy": "WARNING"}


def configuration(*, json: bool, level: int | str, release: str) -> dict[str, Any]:
    """Return Django's LOGGING: one JSON object a line, or text for people; configure structlog.

    `level` is what root shows; `release` stands in each JSON line, beside the process (PROCESS).
    """

    def place(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"release": release, "process": process_name(), **event}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # Without the values of local variables, which structlog's own default prints.
        structlog.processors.format_exc_info,
    ]
    rendering: list[Processor] = (
        [place, structlog.processors.JSONRenderer()] if json else [_for_people]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *rendering,
                ],
                "foreign_pre_chain": shared,
            },
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's own handlers would print an error twice, or e-mail it inside the request.
            "django": {"handlers": [], "propagate": True},
            # The middleware says it, with the ids.
            "django.request": {"level": "CRITICAL"},
            # Their own handlers would write text: gunicorn's (config/gunicorn.py gives it this
            # dictionary), and the one that Celery gives billiard, whose lines do not propagate.
            "gunicorn.error": {"handlers": [], "propagate": True},
            "multiprocessing": {"handlers": ["console"], "propagate": False},
            **{name: {"level": level} for name, level in _SAID_HERE.items()},
        },
    }


def process_name() -> str:
    """Which program of the deployment this is: `web`, `worker-mail`; `manage` for commands."""
    # Read when it is asked: development forks its processes from one that has imported this.
    return os.environ.get("PROCESS", "manage")


def connect() -> None:
    """Let tasks carry the ids, and say when they start and end."""
    receivers: dict[Any, Any] = {
        signals.before_task_publish: _carry,
        signals.task_prerun: _started,
        signals.task_success: _succeeded,
        signals.task_retry: _retrying,
        signals.task_failure: _failed,
    }
    # By name, since only workers need it, and a project's own task class may name another.
    Task.Request = "reliable.parent:Request"
    for signal, receiver in receivers.items():
        signal.connect(receiver, dispatch_uid=f"reliable.logging.{receiver.__name__}")


class RequestMiddleware(middlewares.RequestMiddleware):
    """django-structlog's, which keeps a proxy's id if it looks like one, and answers with it.

    Of a request it logs method, path, status and user agent: no query, which can hold a token, no
    address, no user.
    """

    def prepare(self, request: HttpRequest) -> None:
        clear_contextvars()
        if not _REQUEST_ID.fullmatch(request.META.get("HTTP_X_REQUEST_ID", "")):
            request.META.pop("HTTP_X_REQUEST_ID", None)
        super().prepare(request)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        response["X-Request-ID"] = get_contextvars().get("request_id", "")
        super().handle_response(request, response)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        """Nothing: asking for the user would read the session at each request."""


def _carry(headers: dict[str, Any] | None = None, **_: Any) -> None:
    request_id = get_contextvars().get("request_id")
    if request_id and headers is not None:
        headers[_HEADER] = {"request_id": request_id}


def _started(task_id: str, task: Any, **_: Any) -> None:
    request: Any = task.request
    if request.is_eager:  # inside a web request or another task, whose ids stay
        return
    clear_contextvars()
    if _says_nothing(task):
        return
    bind_contextvars(**task_ids(task.name, task_id, request))
    request.reliable_started = time.monotonic()
    logger.info("task_started")


def _succeeded(sender: Any, **_: Any) -> None:
    if not _says_nothing(sender):
        logger.info("task_succeeded", **_duration(sender))


def _says_nothing(task: Any) -> bool:
    """Jobs have lines of their own, and a healthy probe is no news."""
    return getattr(task, "runs_jobs", False) or getattr(task, "says_nothing", False)


def _retrying(request: Any, reason: Any = "Its worker was stopped.", **_: Any) -> None:
    # The parent of a worker that got SIGQUIT gives no reason, and does not know the arguments.
    text = redacted(str(reason), request.args or (), request.kwargs or {})
    logger.warning("task_retrying", reason=text)


def _failed(
    sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any
) -> None:
    """One line for a failure, from the child that ran the task, or from its parent if that died."""
    ids = {"task": sender.name, "task_id": task_id, **_duration(sender)}
    if isinstance(exception, sender.throws or ()):
        logger.info("task_failed", reason=redacted(str(exception), args, kwargs), **ids)
        return
    text = "".join(traceback.format_exception(exception)).rstrip()
    logger.error("task_failed", exception=redacted(text, args, kwargs), **ids)


def task_ids(name: str, task_id: str, request: Any) -> dict[str, Any]:
    """What each line of a task says; `request` is what Celery knows of this attempt."""
    ids = {
        **(getattr(request, _HEADER, None) or {}),
        "task": name,
        "task_id": task_id,
        "queue": (request.delivery_info or {}).get("routing_key"),
        "attempt": request.retries + 1,
    }
    # Celery calls a task that retries the parent of its own second attempt.
    if request.parent_id and request.parent_id != task_id:
        ids["parent_task_id"] = request.parent_id
    return ids


def _duration(task: Any) -> dict[str, int]:
    started = getattr(task.request, "reliable_started", None)
    return {} if started is None else {"duration_ms": round((time.monotonic() - started) * 1000)}


def _for_people(_: WrappedLogger, __: str, event: EventDict) -> str:
    """`12:00:00 INFO sale.tasks: order paid task_id=…`, then the traceback."""
    clock = str(event.pop("timestamp", ""))[11:19]
    level = str(event.pop("level", "")).upper()
    name, said = event.pop("logger", ""), event.pop("event", "")
    below = [str(event.pop(key)) for key in ("stack", "exception") if key in event]
    fields = "".join(f" {key}={value}" for key, value in event.items())
    return "\n".join([f"{clock} {level} {name}: {said}{fields}", *below])


# A project that has tasks but calls no `configuration` gets its lines through the standard library,
# not structlog's default, which prints the local variables of each frame.
if not structlog.is_configured():
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
