"""Jobs a second that a relay moves from a table of waiting rows into the broker.

Each runs as its own command, warm, and is thawed before a full table. Nobody takes the messages, so
ours is told of a worker with slots enough for all of them: else it would hold back what no worker
has room for.
"""

import uuid

from durable.contest import Contestant, compete
from durable.contestants import enqueue, peer
from durable.contestants import relay as our_relay
from durable.figures import Figure
from durable.stage import Stage

# Ours takes 500 too. It costs theirs 0.9 of the CPU of its default of 100; publishing in several
# threads costs more.
THEIR_BATCH = "500"


def measure(stage: Stage) -> list[Figure]:
    ours, theirs = _ours(stage), _theirs(stage)
    compete(stage, [ours, theirs], stage.sizes.offers, stage.sizes.rounds)
    ratio = ours.rate / theirs.rate
    return [Figure("relay, jobs a second", "django-celery-outbox", ratio, 5, at_least=True)]


def _ours(stage: Stage) -> Contestant:
    from celery import current_app
    from reliable.jobs.broker import Broker

    from durable import tasks

    broker = Broker(current_app)

    def fill(count: int) -> None:
        _beat(slots=stage.sizes.offers)
        enqueue(tasks.durable_noop, count)

    return Contestant("ours", [our_relay(stage)], fill, lambda: broker.length("default"))


def _theirs(stage: Stage) -> Contestant:
    from django.db import transaction

    from durable import tasks
    from durable.outbox import app

    client = stage.system.servers.broker.client(stage.system.broker_database)

    def fill(count: int) -> None:
        with transaction.atomic():
            for number in range(count):
                app.send_task(tasks.plain_noop.name, args=(number,))

    command = ("celery_outbox_relay", "--batch-size", THEIR_BATCH)
    return Contestant(
        "django-celery-outbox",
        [(peer("outbox", *command, process="relay"), "celery_outbox_relay_started")],
        fill,
        lambda: int(client.llen("default")),
    )


def _beat(*, slots: int) -> None:
    """As a worker does; the relay's window is four messages a slot."""
    from reliable.jobs import sql
    from reliable.jobs.database import execute

    worker = {
        "worker": uuid.uuid5(uuid.NAMESPACE_DNS, "benchmark"),
        "name": "benchmark",
        "release": "a",
        "queues": ["default"],
        "slots": slots,
    }
    execute(sql.BEAT, worker)
