"""The lists of the broker that are asked. Of what probes need, only this knows Celery's queues."""

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from reliable import queues


def declared(app: Celery) -> list[str]:
    """The declared queues, and their lists for durable tasks where Celery knows those.

    Not what Celery calls queues besides: a Broadcast, for example, is made anew by each worker.
    """
    known: Any = app.amqp.queues
    names = queues.declared()
    return [each for each in queues.read_by_workers(names) if each in names or each in known]


def direct(worker: str) -> Queue:
    """The list that one worker alone reads, under Celery's name for it.

    Bound to no exchange: Celery's own leaves a binding in Redis for each worker that ever was.
    """
    name = f"{worker}.dq2"
    return Queue(name, Exchange(""), routing_key=name, durable=True, auto_delete=False, no_ack=True)
