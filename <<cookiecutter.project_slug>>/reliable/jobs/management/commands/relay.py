import signal
from typing import Any

import structlog
from celery import current_app
from django.core.management.base import BaseCommand, CommandError, CommandParser

from reliable import queues, startup
from reliable.jobs.duties import Duties
from reliable.jobs.relay import Relay

logger = structlog.stdlib.get_logger("reliable.jobs")


class Command(BaseCommand):
    help = (
        "Publish due jobs, give back what dead workers hold, expire, purge; until TERM. Run it on"
        " two hosts or more: they share the work."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--include",
            default="",
            help="Modules with tasks that no app's tasks.py imports, as of `celery worker`.",
        )

    def handle(self, *args: Any, include: str, **options: Any) -> None:
        # It knows tasks for their `batch` alone; one that it does not know travels alone.
        current_app.conf.include = (*current_app.conf.include, *filter(None, include.split(",")))
        startup.refuse_undeclared_routes()
        if not queues.declared():
            raise CommandError(
                "The setting QUEUES declares no queue, so there is nothing to publish to; write for"
                " example QUEUES = queues.validate({...}), as reliable/jobs/README.md shows."
            )
        relay, duties = Relay(current_app), Duties()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.stop())
        duties.start()
        logger.info("relay.started", queues=sorted(relay.lanes))
        try:
            relay.run()
        finally:
            duties.stop()
        logger.info("relay.stopped", published=relay.published)
