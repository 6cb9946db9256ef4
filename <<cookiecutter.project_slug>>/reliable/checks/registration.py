"""All checks of this project, as Django system checks of the tag `reliable`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from celery import Celery, current_app
from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks

from reliable import queues
from reliable.checks import celery_settings, source, supervisor_file, task_options
from reliable.checks.findings import Finding, silenced
from reliable.startup import load_tasks


def connect() -> None:
    checks.register(check, "reliable")


def check(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """The findings that nobody silenced."""
    stand, _ = silenced(findings(current_app), getattr(settings, "RELIABLE_SILENCED", {}))
    return [finding.message() for finding in stand]


def findings(app: Celery) -> list[Finding]:
    """All findings, in the order of their ids."""
    load_tasks(app)
    found = [
        *celery_settings.check(app, settings),
        *task_options.check(app, queues.declared()),
        *source.check(_folders(), _known(app)),
        *_supervisor(app),
    ]
    return sorted(found, key=lambda finding: (finding.id, finding.place))


def supervisor_path() -> Path | None:
    """Where the deployed supervisor file lies (SUPERVISOR_FILE), None if no setting says it."""
    path = getattr(settings, "SUPERVISOR_FILE", None)
    return Path(path) if path else None


def _supervisor(app: Celery) -> Iterable[Finding]:
    path, declared = supervisor_path(), queues.declared()
    if path is None:
        return ()
    limits = task_options.limits(app, declared)
    soft = celery_settings.soft_shutdown(app.conf)
    return supervisor_file.check(path, limits, declared=bool(declared), soft_shutdown=soft)


def _folders() -> list[Path]:
    """The project's own packages: its applications, and what holds its URLs. Not this one."""
    own = {Path(config.path) for config in apps.get_app_configs() if config.name != "reliable"}
    module = __import__(settings.ROOT_URLCONF.split(".")[0])
    if module.__file__ and Path(module.__file__).name == "__init__.py":
        own.add(Path(module.__file__).parent)
    ours = Path(__file__).parents[1]
    libraries = {"site-packages", "dist-packages"}
    return sorted(
        path for path in own if not libraries & set(path.parts) and not path.is_relative_to(ours)
    )


def _known(app: Celery) -> source.Known:
    return source.Known(
        tasks={
            name.rpartition(".")[2]: getattr(task, "dispatches_on_commit", False)
            for name, task in app.tasks.items()
            if not name.startswith("celery.")
        },
        models=frozenset(model.__name__ for model in apps.get_models()),
        atomic_requests=any(db.get("ATOMIC_REQUESTS") for db in settings.DATABASES.values()),
        visibility_timeout=celery_settings.visibility_timeout(app.conf),
    )
