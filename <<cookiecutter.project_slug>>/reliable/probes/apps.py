from django.apps import AppConfig


class ProbesConfig(AppConfig):
    """Beat sends probes, workers answer and report, and whoever lives says what changed."""

    name = "reliable.probes"
    label = "reliable_probes"
    verbose_name = "Probes"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from reliable.probes import beat, reporter
        from reliable.probes.alarms import duty

        beat.connect()
        reporter.connect()
        duty.connect()
