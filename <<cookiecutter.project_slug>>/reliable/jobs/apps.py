from importlib import import_module

from django.apps import AppConfig
from django.conf import settings


class JobsConfig(AppConfig):
    """Durable tasks: rows that a transaction commits with its data, and who finishes them."""

    name = "reliable.jobs"
    label = "reliable_jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from reliable import provider, startup
        from reliable.jobs import durable, moving, providing, reporting, worker
        from reliable.jobs.schedule import calls

        startup.connect()
        reporting.connect()
        worker.connect()
        moving.connect()
        # Only where the settings name it: it needs Django 6, or the package django-tasks.
        for backend in getattr(settings, "TASKS", {}).values():
            if backend.get("BACKEND", "").startswith("reliable."):
                import_module("reliable.jobs.backend").connect()
        startup.refuse_also(durable.problems)
        startup.refuse_also(calls.problems)
        provider.register(providing.JobsProvider())
