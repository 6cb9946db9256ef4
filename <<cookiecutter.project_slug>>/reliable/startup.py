"""What no process may start with: a task that is routed to a queue which nobody declared.

Such a task would be accepted by the broker, or refused when it is sent, and nobody would run it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from celery import Celery, current_app
from celery.signals import beat_init, worker_init
from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules

from reliable import queues

#: What other parts refuse a start for: each returns a sentence for each mistake.
_others: list[Callable[[], Iterable[str]]] = []


def refuse_also(problems: Callable[[], Iterable[str]]) -> None:
    """Let another part have its say at each start; `problems` is called when tasks are loaded."""
    _others.append(problems)


def connect() -> None:
    """Check when Django does, and when a worker or beat starts.

    Celery's Django fixup runs the system checks at a worker's start and ignores what they find.
    """
    checks.register(check_routes, "reliable")
    worker_init.connect(_end_process, dispatch_uid="reliable.startup")
    beat_init.connect(_end_process, dispatch_uid="reliable.startup")


def load_tasks(app: Celery) -> None:
    """Import what registers tasks, as a worker does at its start."""
    # Not `app.loader.import_default_modules()`: Celery's Django fixup answers it with the checks.
    autodiscover_modules("tasks")
    for module in (*app.conf.imports, *app.conf.include):
        import_module(module)


def queue_of(app: Celery, task: Any) -> str:
    """The queue that a task goes to, unless its caller names another."""
    if own := getattr(task, "queue", None):
        return str(own)
    route = app.amqp.router.lookup_route(task.name, task_type=task) or {}
    return str(route.get("queue", app.conf.task_default_queue))


def undeclared_routes(app: Celery, declared: Mapping[str, queues.Queue]) -> dict[str, str]:
    """The tasks that would go to a queue that is not declared: task name to queue name.

    A project that declares no queue at all leaves them to Celery, and has no such task.
    """
    if not declared:
        return {}
    load_tasks(app)
    routed = {name: queue_of(app, task) for name, task in sorted(app.tasks.items())}
    return {name: queue for name, queue in routed.items() if queue not in declared}


def check_routes(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """System check `reliable.E001`."""
    hint = "Declare the queue in config/queues.yml, or correct its name at the task."
    return [
        *(
            checks.Error(_sentence(task, queue), hint=hint, obj=task, id="reliable.E001")
            for task, queue in undeclared_routes(current_app, queues.declared()).items()
        ),
        *(checks.Error(problem, id="reliable.E001") for each in _others for problem in each()),
    ]


def refuse_undeclared_routes() -> None:
    """Raise ImproperlyConfigured if a task is routed to a queue that is not declared, or another
    part refuses the start.
    """
    for task, queue in undeclared_routes(current_app, queues.declared()).items():
        raise ImproperlyConfigured(_sentence(task, queue))
    for problem in (problem for each in _others for problem in each()):
        raise ImproperlyConfigured(problem)


def _end_process(**kwargs: Any) -> None:
    try:
        refuse_undeclared_routes()
    except ImproperlyConfigured as error:
        # Celery logs any other exception of a signal's receiver, and goes on.
        raise SystemExit(f"error: {error}") from error


def _sentence(task: str, queue: str) -> str:
    declared = ", ".join(queues.declared())
    return (
        f"The task {task} is routed to the queue {queue!r}, which is not declared"
        f" (declared: {declared}): nobody would run it."
    )
