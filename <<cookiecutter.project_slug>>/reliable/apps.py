from django.apps import AppConfig


class ReliableConfig(AppConfig):
    """What each process gets at its start: the check of its routes, the log lines of its tasks."""

    name = "reliable"

    def ready(self) -> None:
        from reliable import connections, logging, startup
        from reliable.checks import registration

        connections.keep()
        startup.connect()
        logging.connect()
        registration.connect()
