"""The workers that run the same tasks: Celery's, ours, procrastinate's and django-tasks'."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from durable.contest import Contestant
from durable.stage import Stage

if TYPE_CHECKING:
    from reliable.supervisor.programs import Program

Kind = Literal["effect", "noop"]
PROCESSES = 2
TASKS = ("--include", "durable.tasks")
# Of each process. Bodies that are not async still run one at a time, but its own statements overlap
# with them: 1.4 times as many tasks as with its default of 1, and 10 adds nothing.
PROCRASTINATES_CONCURRENCY = "4"

EFFECTS = "SELECT count(*) FROM effects"
SUCCEEDED = "SELECT count(*) FROM reliable_job WHERE state = 'succeeded'"


def worker(stage: Stage) -> tuple["Program", str]:
    """The project's worker as production starts it, with the tasks of this benchmark."""
    program = stage.system.layout().worker("default", concurrency=PROCESSES)
    return replace(program, arguments=(*program.arguments, *TASKS)), " ready."


def relay(stage: Stage) -> tuple["Program", str]:
    program = stage.system.layout().relay()
    return replace(program, arguments=(*program.arguments, *TASKS)), "relay.started"


def plain(stage: Stage, kind: Kind) -> Contestant:
    from durable import tasks

    return Contestant(
        f"plain {kind}",
        [worker(stage)],
        partial(send, getattr(tasks, f"plain_{kind}")),
        "task_succeeded",
        EFFECTS if kind == "effect" else "",
    )


def durable(stage: Stage, kind: Kind | Literal["batched"]) -> Contestant:
    from durable import tasks

    return Contestant(
        f"durable {kind}",
        [worker(stage), relay(stage)],
        partial(enqueue, getattr(tasks, f"durable_{kind}")),
        # Of jobs in batches one line says many.
        partial(counted, EFFECTS) if kind == "batched" else "job.succeeded",
        SUCCEEDED if kind == "noop" else EFFECTS,
    )


def counted(query: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def procrastinate(kind: Kind) -> Contestant:
    from durable import peer_tasks

    task: Any = getattr(peer_tasks, f"procrastinate_{kind}")

    def fill(count: int) -> None:
        task.batch_defer(*[{"number": number} for number in range(count)])

    arguments = (
        *("procrastinate", "worker", "--queues", "default"),
        *("--concurrency", PROCRASTINATES_CONCURRENCY),
    )
    return Contestant(
        f"procrastinate {kind}",
        [(each, "Starting worker on") for each in _peers("procrastinate", *arguments)],
        fill,
        "ended with status: Success",
        EFFECTS if kind == "effect" else "",
    )


def django_tasks(kind: Kind) -> Contestant:
    from durable import peer_tasks

    task: Any = getattr(peer_tasks, f"django_tasks_{kind}")

    def fill(count: int) -> None:
        from django.db import transaction

        with transaction.atomic():
            for number in range(count):
                task.enqueue(number)

    return Contestant(
        f"django-tasks {kind}",
        [
            (each, "Starting worker")
            for each in _peers("django-tasks", "db_worker", "--no-startup-delay")
        ],
        fill,
        "state=SUCCESSFUL",
        EFFECTS if kind == "effect" else "",
    )


def send(task: Any, count: int) -> None:
    for number in range(count):
        task.delay(number)


def enqueue(task: Any, count: int) -> None:
    from reliable.jobs import enqueue_many

    enqueue_many(task, [(number,) for number in range(count)])


def _peers(name: str, command: str, *arguments: str) -> list["Program"]:
    return [
        peer(f"{name}-{number}", command, *arguments, process="worker-default")
        for number in range(1, PROCESSES + 1)
    ]


def peer(name: str, command: str, *arguments: str, process: str) -> "Program":
    """A management command of another library; `process` chooses the database's timeouts."""
    from reliable.supervisor.programs import Program

    return Program(
        name=name,
        module="manage",
        # Ours know no setting CELERY_OUTBOX_APP, and say so.
        arguments=(command, "--skip-checks", *arguments),
        stop_wait=30,
        environment={"DJANGO_SETTINGS_MODULE": "durable.settings", "PROCESS": process},
    )
