from django.apps import AppConfig


class ReliableConfig(AppConfig):
    """Queues that are checked before a process starts, and the supervisor file made from them."""

    name = "reliable"

    def ready(self) -> None:
        from reliable import logging, startup
        from reliable.checks import registration

        startup.connect()
        logging.connect()
        registration.connect()
