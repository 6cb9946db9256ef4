"""Asks targets: one probe each on its way, by the road that their tasks take."""

import contextlib
from typing import Any
from uuid import uuid4

from celery import current_app
from celery.app.task import Task
from django.db import Error
from kombu import Producer

from reliable.probes import lists, sql
from reliable.probes.database import Session
from reliable.probes.promises import promise, queue_of
from reliable.probes.seen import Picture, Seen, look
from reliable.probes.states import Kind
from reliable.probes.tasks import probe

# What a durable task has by default, so that a flood of urgent ones is seen. Redis serves 0 first.
_JOBS_PRIORITY = 4
# In times of `critical`: a probe is dropped by whoever finds it later than that, and another sent;
# not while it may wait in its list, or one that nobody reads would fill with thousands.
_EXPIRES = 2
_GIVEN_UP = 20


class Sender:
    """Asks targets through a connection of its own to the broker."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._connection: Any = None
        self._producer: Any = None

    def round(self) -> None:
        """Ask each target that nobody waits for. A broker that is away is noted at each."""
        picture = look(self.session.rows)
        targets = [each for each in picture.targets if each.kind in {Kind.QUEUE, Kind.WORKER}]
        for number, target in enumerate(targets):
            try:
                self.ask(target, picture)
            except Error:
                raise
            except Exception as error:  # noqa: BLE001 - kombu's and redis-py's have no common one
                self.close()
                text = f"{type(error).__name__}: {error}".strip()
                ids = [each.id for each in targets[number:]]
                self.session.rows(sql.UNSENT, {"ids": ids, "error": text[:500]})
                return

    def ask(self, target: Seen, picture: Picture) -> None:
        """Send a probe, unless one is still waited for. Raises what kombu and redis-py do."""
        if target.report.stopping is not None:
            return  # it takes nothing any more, and finishes what it has
        queue: Any = target.name if target.kind == Kind.QUEUE else lists.direct(target.name)
        warn, critical = promise(
            [target.name] if target.kind == Kind.QUEUE else target.report.queues
        )
        waiting = self._waiting(target.name if target.kind == Kind.QUEUE else queue.name)
        if target.outstanding and target.sent_ago is not None:
            patience = critical * (_GIVEN_UP if waiting else _EXPIRES)
            if not waiting and not target.lost_in_row and _nobody_has_it(target, picture):
                patience = warn / 2  # so that the next answers before this one is late
            if target.sent_ago <= patience:
                self.session.rows(sql.WAITING, {"id": target.id, "waiting": waiting})
                return
            self.session.rows(sql.LOST, {"id": target.id})
        self._send(target.id, queue, critical * _EXPIRES, waiting)

    def forget(self, worker: str) -> None:
        """Empty the list of a worker that is gone."""
        self._open().channel.queue_purge(lists.direct(worker).name)

    def close(self) -> None:
        """Let go of a connection that may be broken."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()

    def _waiting(self, name: str) -> int:
        return int(self._open().channel.queue_declare(queue=name).message_count)

    def _send(self, target_id: int, queue: Any, expires: float, waiting: int) -> None:
        token = str(uuid4())
        producer = self._open()
        sending = {"id": target_id, "token": token, "waiting": waiting}
        if not self.session.rows(sql.SENDING, sending):
            return
        of_jobs = isinstance(queue, str) and queue_of(queue) != queue
        options: dict[str, Any] = {"priority": _JOBS_PRIORITY} if of_jobs else {}
        # Celery's own, whatever class the project's tasks have: no transaction is waited for.
        Task.apply_async(
            probe,
            task_id=token,
            queue=queue,
            expires=expires,
            producer=producer,
            retry=False,
            **options,
        )
        self.session.rows(sql.SENT, {"id": target_id})

    def _open(self) -> Any:
        if self._producer is None:
            app: Any = current_app
            self._connection = app.connection_for_write()
            self._producer = Producer(self._connection, auto_declare=False)
        return self._producer


def _nobody_has_it(target: Seen, picture: Picture) -> bool:
    """The message that is waited for got lost: in a restart of the broker, or of the database."""
    workers = picture.of(Kind.WORKER)
    readers = [each for each in workers if target.name in each.report.queues]
    reports = [each.report for each in ([target] if target.kind == Kind.WORKER else readers)]
    return bool(reports) and not any(report.busy or report.unstarted for report in reports)
