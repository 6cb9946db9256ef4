"""What beat does at each tick: it says that it ticks, and asks everybody."""

import contextlib
import logging
from typing import Any
from uuid import uuid4

import structlog
from celery import current_app, signals
from celery.app.task import Task
from django.conf import settings
from django.db import DatabaseError
from kombu import Producer

from reliable.probes import lists, sql, watch
from reliable.probes.database import Session
from reliable.probes.options import Options, options
from reliable.probes.promises import promise, queue_of
from reliable.probes.seen import Picture, Seen, look
from reliable.probes.states import Kind
from reliable.probes.tasks import TICK, probe

logger = structlog.stdlib.get_logger("reliable.probes")

# What a durable task has by default, so that a flood of urgent ones is seen. Redis serves 0 first.
_JOBS_PRIORITY = 4
# In times of `critical`: a probe is dropped by whoever finds it later than that, and another sent;
# not while it may wait in its list, or one that nobody reads would fill with thousands.
_EXPIRES = 2
_GIVEN_UP = 20


def connect() -> None:
    """Keep Celery's line about the entry out of beat's log."""
    signals.beat_init.connect(_begin, dispatch_uid="reliable.probes.begin")


def _begin(**_: Any) -> None:
    logging.getLogger("celery.beat").addFilter(lambda record: TICK not in record.getMessage())
    # With a broker that is down, Celery's beat waits for it before its first entry.
    tick()


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
            except DatabaseError:
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
                patience = warn
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
        self.session.rows(sql.SENDING, {"id": target_id, "token": token, "waiting": waiting})
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
    workers = [target] if target.kind == Kind.WORKER else picture.of(Kind.WORKER)
    reports = [
        each.report for each in workers if target in workers or target.name in each.report.queues
    ]
    return bool(reports) and not any(report.busy or report.unstarted for report in reports)


_session = Session()
_sender = Sender(_session)
_lost = False


def tick() -> None:
    """Note the tick, ask everybody, judge. An error is logged: the next tick tries again."""
    global _lost  # noqa: PLW0603 - so that it is said once
    said = options()
    try:
        _session.rows(sql.TICK, {"release": str(getattr(settings, "RELEASE", ""))})
        _session.rows(sql.DECLARE, {"names": lists.declared(current_app)})
        _retire(said)
        _sender.round()
        watch.judge(_session, said)
        _session.rows(sql.PURGE_SAMPLES, {"seconds": said.samples})
        _session.rows(sql.PURGE_TRANSITIONS, {"seconds": said.transitions})
        _lost = False
    except DatabaseError as error:
        if not _lost:
            logger.warning("probe.not_noted", error=str(error).strip())
        _lost = True


def close() -> None:
    """Let go of database and broker, until the next tick."""
    _session.close()
    _sender.close()


def _retire(said: Options) -> None:
    for kind, name in _session.rows(sql.FORGET, {"seconds": said.forget}):
        logger.info("probe.retired", kind=kind, target=name)
        if kind == Kind.WORKER:
            try:
                _sender.forget(name)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001
                _sender.close()
                logger.info("probe.left_in_list", target=name, error=str(error))
