import os
import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from reliable.supervisor.programs import Layout, Program
from reliable.supervisor.render import HEADER, Place, generation


class Command(BaseCommand):
    help = (
        "Print supervisor's configuration for one deploy on this host: a group with the web"
        " process, one worker a queue, a relay and beat."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--deploy-id", required=True, help="new at each deploy: 20260131-1830")
        parser.add_argument(
            "--programs",
            nargs="+",
            default=["web", "workers", "relay", "beat"],
            metavar="NAME",
            help="what this host runs: web, workers, worker-QUEUE, relay, beat (default: all)",
        )
        parser.add_argument(
            "--concurrency",
            nargs="+",
            default=[],
            metavar="QUEUE=N",
            help="processes of a queue's worker on this host, instead of the declared number",
        )
        parser.add_argument("--run-dir", type=Path, default=settings.SUPERVISOR["run_dir"])
        parser.add_argument("--log-dir", type=Path, default=settings.SUPERVISOR["log_dir"])
        parser.add_argument("--home", type=Path, default=Path.home())
        parser.add_argument("--user", help="the account to run as, where supervisor runs as root")

    def handle(self, *args: Any, **options: Any) -> None:
        deploy_id = options["deploy_id"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", deploy_id):
            raise CommandError(
                f"--deploy-id {deploy_id!r}: use letters, digits, `.`, `_` and `-`, at most 64,"
                " for example 20260131-1830."
            )
        layout = Layout(
            deploy_id=deploy_id,
            queues=settings.QUEUES,
            settings=settings.SUPERVISOR,
            run_dir=options["run_dir"],
            release=settings.RELEASE,
            # Where the settings' variables were read from here, the programs read them too.
            environment={key: os.environ[key] for key in ("ENV_FILE",) if key in os.environ},
        )
        concurrency = dict(_override(text) for text in options["concurrency"])
        selected = {
            program.name: program
            for name in options["programs"]
            for program in _select(layout, name, concurrency)
        }
        place = Place(
            directory=settings.SUPERVISOR["directory"],
            log_dir=options["log_dir"],
            home=options["home"],
            user=options["user"],
        )
        try:
            text = "\n".join([HEADER, generation(deploy_id, selected.values(), place)])
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text, ending="")


def _select(layout: Layout, name: str, concurrency: dict[str, int]) -> list[Program]:
    unknown = set(concurrency) - set(layout.queues)
    if unknown:
        raise CommandError(
            f"--concurrency names the queue {min(unknown)!r}, which is not declared."
        )
    if name == "web":
        return [layout.web()]
    if name == "relay":
        return [layout.relay()]
    if name == "beat":
        return [layout.beat()]
    if name == "workers":
        return layout.workers(concurrency=concurrency)
    queue = name.removeprefix("worker-")
    if name.startswith("worker-") and queue in layout.queues:
        return [layout.worker(queue, concurrency=concurrency.get(queue))]
    each = [f"worker-{queue}" for queue in layout.queues]
    known = ", ".join(["web", "workers", *each, "relay", "beat"])
    raise CommandError(f"--programs {name}: there is no such program; there are {known}.")


def _override(text: str) -> tuple[str, int]:
    queue, _, number = text.partition("=")
    if not number.isdecimal() or int(number) < 1:
        raise CommandError(f"--concurrency {text!r}: write QUEUE=N, for example mail=4.")
    return queue, int(number)
