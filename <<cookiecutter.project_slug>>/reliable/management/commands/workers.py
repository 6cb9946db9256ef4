import re
import time
from collections.abc import Iterable
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError, CommandParser
from kombu.exceptions import ChannelError

from reliable.queues import job_queue

# Seconds to wait for the answers of workers that are alive. A dead one costs that much.
_PATIENCE = 2.0
_PAUSE = 0.5


class Command(BaseCommand):
    help = (
        "Speak to the workers of one deploy, whose names are QUEUE-DEPLOY@HOST. `wait` until they"
        " answer; let them `release` their queues, so that they take nothing more while they finish"
        " what they hold; let them `take` again; say what is `left` in queues, and the `tasks` that"
        " run. Exit status: 1 if a worker did not answer, or messages are left."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="operation", required=True, metavar="OPERATION")
        wait = subparsers.add_parser("wait", help="until each of the workers answers")
        wait.add_argument("deploy", help="the deploy's id")
        wait.add_argument("--timeout", type=float, default=60, metavar="SECONDS")
        wait.add_argument("workers", nargs="+", metavar="QUEUE@HOST", help="who must answer")
        left = subparsers.add_parser("left", help="say how many messages wait in queues")
        left.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="until none do")
        left.add_argument(
            "queues", nargs="+", metavar="QUEUE", help="also ones that are undeclared"
        )
        subparsers.add_parser("tasks", help="say what each worker that answers runs, and how long")
        for name, what in {
            "release": "take nothing more from their queues",
            "take": "take from their queues again: undoes `release`",
        }.items():
            each = subparsers.add_parser(name, help=what)
            each.add_argument("deploys", nargs="+", metavar="DEPLOY", help="the deploys' ids")
            each.add_argument(
                "--expect",
                type=int,
                metavar="N",
                help="workers; when all have answered, wait no longer",
            )
            each.add_argument(
                "--except", nargs="+", default=[], dest="spared", metavar="QUEUE", help="not these"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["operation"] == "wait":
            self._wait(options["deploy"], options["workers"], options["timeout"])
        elif options["operation"] == "left":
            self._left(options["queues"], options["wait"])
        elif options["operation"] == "tasks":
            self._tasks()
        else:
            how = {"release": "cancel_consumer", "take": "add_consumer"}[options["operation"]]
            self._each(how, options["deploys"], options["expect"], options["spared"])

    def _wait(self, deploy: str, wanted: list[str], timeout: float) -> None:
        missing = {_node(deploy, *worker.split("@", 1)) for worker in wanted}
        deadline = time.monotonic() + timeout
        patience = _PAUSE
        # Most are about to be there; the longer it takes, the slower may be the answers.
        while missing := missing - set(alive([deploy], len(wanted), patience)):
            if time.monotonic() > deadline:
                names = ", ".join(sorted(missing))
                raise CommandError(f"After {timeout:g} s, these do not answer: {names}.")
            patience = min(2 * patience, _PATIENCE)
        self.stdout.write(f"All {len(wanted)} workers of {deploy} answer.")

    def _left(self, names: list[str], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while (waiting := messages(names)) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        found = ", ".join(f"{number} in {name}" for name, number in waiting.items())
        self.stdout.write(f"Messages left: {found or 'none'}.")
        if waiting:
            raise SystemExit(1)

    def _tasks(self) -> None:
        answers = current_app.control.inspect(timeout=_PATIENCE).active() or {}
        for node, tasks in sorted(answers.items()):
            # Not their arguments, which may be secret.
            running = [f"{each['name']} for {_since(each['time_start'])}" for each in tasks]
            self.stdout.write(f"{node}: {', '.join(running) or 'nothing'}")

    def _each(
        self, how: str, deploys: Iterable[str], expected: int | None, spared: Iterable[str]
    ) -> None:
        silent = []
        for node in alive(deploys, expected):
            queue = _queue(node, deploys)
            if queue in spared:
                continue
            for name in (queue, job_queue(queue)):
                answers = current_app.control.broadcast(
                    how,
                    arguments={"queue": name},
                    destination=[node],
                    reply=True,
                    timeout=_PATIENCE,
                    limit=1,
                )
                if not answers:
                    silent.append(f"{node} ({name})")
            self.stdout.write(f"{node}: {how} {queue}")
        if silent:
            raise CommandError(f"These workers have not answered: {', '.join(silent)}.")


def alive(
    deploys: Iterable[str], expected: int | None = None, patience: float = _PATIENCE
) -> list[str]:
    """The names of the deploys' workers that answer; quicker where their number is known.

    `patience`: seconds without a further answer that end the wait.
    """
    control: Any = current_app.control  # the stubs want a function for what Celery sends by name
    answers = control.broadcast(
        "ping",
        reply=True,
        timeout=patience,
        limit=expected,
        pattern=f".+-({'|'.join(map(re.escape, deploys))})@",
        matcher="pcre",
    )
    return sorted(name for answer in answers or [] for name in answer)


def messages(names: Iterable[str]) -> dict[str, int]:
    """How many messages wait in each of the queues' two lists, where any do."""
    found = {}
    with current_app.connection_for_read() as broker:
        channel: Any = broker.channel()
        for name in names:
            for each in (name, job_queue(name)):
                # Passive: a queue that nobody declares any more is asked too, and not made.
                try:
                    found[each] = channel.queue_declare(queue=each, passive=True).message_count
                except ChannelError:  # empty queues do not exist in Redis
                    continue
    return {name: number for name, number in found.items() if number}


def _since(start: float | None) -> str:
    return f"{max(0, time.time() - start):.0f} s" if start else "a moment"


def _node(deploy: str, queue: str, host: str) -> str:
    return f"{queue}-{deploy}@{host}"


def _queue(node: str, deploys: Iterable[str]) -> str:
    name = node.rpartition("@")[0]
    [queue] = [name.removesuffix(f"-{each}") for each in deploys if name.endswith(f"-{each}")]
    return queue
