"""What a relay says to the broker: how long is a list, and these jobs are due."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from celery import Celery
from django.core.exceptions import ImproperlyConfigured
from kombu import Producer

from reliable.jobs.runner import KILL_AFTER
from reliable.jobs.tasks import RUNNER
from reliable.jobs.worker import JOBS
from reliable.queues import job_queue

_HIGHEST = 9


class Offer(NamedTuple):
    """A due job whose row has just been marked as published."""

    id: UUID
    task: str
    queue: str
    priority: int
    time_limit: int
    headers: str
    run_at: Any
    # Not in a batch, whatever its task says.
    alone: bool


class Broker:
    """A connection to the broker of the relay's own, opened when it is first used.

    A method may raise anything that kombu or redis-py do; after that, `close` it.
    """

    def __init__(self, app: Celery) -> None:
        self.app: Any = app
        self._connection: Any = None
        self._producer: Any = None
        self._templates: dict[tuple[str, int | None, int], tuple[Any, dict[str, Any]]] = {}

    def length(self, queue: str) -> int:
        """Messages that wait in a queue's list of jobs, over all priorities."""
        channel = self._open().channel
        declared = channel.queue_declare(queue=job_queue(queue))
        return int(declared.message_count)

    def publish(self, parcels: Iterable[Sequence[Offer]]) -> None:
        """Send one message for each parcel, all at once. The jobs of one have their task, queue and
        priority in common.
        """
        producer = self._open()
        with producer.batch():
            for parcel in parcels:
                self._send(producer, parcel)

    @property
    def producer(self) -> Any:
        """Kombu's, for other messages over this connection."""
        return self._open()

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()

    def _open(self) -> Any:
        if self._producer is None:
            self._connection = self.app.connection_for_write()
            self._producer = Producer(self._connection, auto_declare=False)
            if not self._producer.supports_batch_publish:
                raise ImproperlyConfigured(
                    "The broker's connection cannot send in batches: remove retry_on_timeout,"
                    " retry_on_error and retry from CELERY_BROKER_TRANSPORT_OPTIONS."
                )
        return self._producer

    def _send(self, producer: Any, parcel: Sequence[Offer]) -> None:
        offer = parcel[0]
        job_id = str(offer.id)
        if len(parcel) == 1:
            soft: int | None = offer.time_limit
            hard, jobs = offer.time_limit + KILL_AFTER, {}
        else:
            # Each body gets its own soft limit in the child.
            soft, hard = None, sum(each.time_limit + KILL_AFTER for each in parcel)
            jobs = {JOBS: [str(each.id) for each in parcel]}
        body, headers = self._template(offer.task, soft, hard)
        producer.publish(
            body,
            headers={**headers, "id": job_id, "root_id": job_id, **jobs},
            routing_key=job_queue(offer.queue),
            # The nameless exchange needs no binding, which a flush of the broker would take away.
            exchange="",
            serializer="json",
            correlation_id=job_id,
            # Redis serves 0 first.
            priority=_HIGHEST - offer.priority,
        )

    def _template(self, task: str, soft: int | None, hard: int) -> tuple[Any, dict[str, Any]]:
        """Body and headers of a message of the Celery protocol, version 2, but for its id.

        https://docs.celeryq.dev/en/stable/internals/protocol.html
        """
        key = task, soft, hard
        if key not in self._templates:
            message = self.app.amqp.as_task_v2(
                "",
                RUNNER,
                shadow=task,
                soft_time_limit=soft,
                time_limit=hard,
                argsrepr="()",
                kwargsrepr="{}",
                ignore_result=True,
            )
            self._templates[key] = message.body, message.headers
        return self._templates[key]
