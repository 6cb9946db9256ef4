from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Durable tasks: rows that a transaction commits with its data, and who finishes them."""

    name = "reliable.jobs"
    label = "reliable_jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from reliable import startup
        from reliable.jobs import durable, moving, reporting, worker

        startup.connect()
        reporting.connect()
        worker.connect()
        moving.connect()
        startup.refuse_also(durable.problems)
