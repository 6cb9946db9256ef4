"""A worker's parent process says what it reads, runs and holds, and notes what came too late."""

import atexit
import json
import queue
import threading
import time
import uuid
from dataclasses import asdict
from typing import Any

import structlog
from celery import signals
from celery.worker import state
from django.conf import settings
from django.db import connections
from kombu import Exchange

from reliable import queues
from reliable.probes import lists, sql, watch
from reliable.probes.database import Session
from reliable.probes.options import options
from reliable.probes.promises import queue_of
from reliable.probes.seen import Report, Running
from reliable.probes.tasks import PROBE

logger = structlog.stdlib.get_logger("reliable.probes")


class Reporter(threading.Thread):
    """Reports from a thread and a database session of its own, whatever the worker is busy with."""

    def __init__(self, consumer: Any) -> None:
        super().__init__(name="probes-reporter", daemon=True)
        self.consumer = consumer
        self.name_of_worker = str(consumer.hostname)
        self.instance = str(uuid.uuid4())
        self.own = lists.direct(self.name_of_worker).name
        self.started_for = sorted(set(consumer.app.amqp.queues.consume_from) - {self.own})
        self.events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.stopping_since: float | None = None
        self._session = Session()
        self._unstarted: dict[str, float] = {}
        self._read_all_at = time.monotonic()
        self._silent = False

    def run(self) -> None:
        said = options()
        due = time.monotonic()
        while True:
            try:
                token = self.events.get(timeout=max(0.0, due - time.monotonic()))
                if token is None:
                    self._leave()
                    return
                if token:
                    self._session.rows(sql.EXPIRED, {"token": token, **self._who()})
                    continue
            except queue.Empty:
                pass
            except Exception as error:  # noqa: BLE001 - the next report says it
                self._say_silent(error)
                continue
            due = time.monotonic() + said.report
            try:
                self.report()
                watch.judge(self._session, said)
                self._silent = False
            except Exception as error:  # noqa: BLE001 - a thread that ends looks like a dead worker
                self._say_silent(error)
            finally:
                connections.close_all()  # of this thread: what the provider opened

    def report(self) -> None:
        report = self._report()
        text = json.dumps({**asdict(report), "running": [list(each) for each in report.running]})
        who = {"name": self.name_of_worker, "release": self._who()["release"]}
        self._session.rows(sql.REPORT, {**who, "report": text})

    def stop(self) -> None:
        """The worker ends in an orderly way: nobody is to miss it."""
        self.events.put(None)
        self.join(timeout=10)

    def _report(self) -> Report:
        now = time.monotonic()
        running, unstarted = [], set()
        for request in _requests():
            if request.time_start:
                running.append(self._running(request))
            else:
                unstarted.add(request.id)
        self._unstarted = {each: self._unstarted.get(each, now) for each in unstarted}
        reading = self._reading()
        if set(self.started_for) <= set(reading):
            self._read_all_at = now
        return Report(
            instance=self.instance,
            queues=self.started_for,
            reading=reading,
            not_reading=round(now - self._read_all_at, 1),
            slots=self.consumer.controller.concurrency,
            running=running,
            unstarted=len(self._unstarted),
            waited=round(now - min(self._unstarted.values(), default=now), 1),
            stopping=None if self.stopping_since is None else round(now - self.stopping_since, 1),
        )

    def _reading(self) -> list[str]:
        """What the connection to the broker asks for now, which is not what it was told once."""
        try:
            channel = self.consumer.task_consumer.channel
            return sorted(set(channel.active_queues) - {self.own})
        except (AttributeError, RuntimeError):  # it looks for the broker just now
            return []

    def _running(self, request: Any) -> Running:
        own = request.time_limits[0] or request.task.time_limit
        name = (request.delivery_info or {}).get("routing_key") or ""
        declared = queues.declared().get(queue_of(name))
        limit = own or (declared and declared["time_limit"]) or self.consumer.controller.time_limit
        seconds = max(0.0, time.time() - request.time_start)
        return Running(request.name, request.id, round(seconds, 1), limit and float(limit))

    def _who(self) -> dict[str, str]:
        return {
            "worker": self.name_of_worker,
            "release": str(getattr(settings, "RELEASE", "")),
        }

    def _leave(self) -> None:
        try:
            who = {"name": self.name_of_worker, "instance": self.instance}
            self._session.rows(sql.LEAVE, who)
        except Exception as error:  # noqa: BLE001
            self._say_silent(error)
        finally:
            self._session.close()

    def _say_silent(self, error: Exception) -> None:
        if not self._silent:
            self._silent = True
            logger.warning(
                "probe.not_reported", target=self.name_of_worker, error=str(error).strip()
            )


_reporter: Reporter | None = None


def connect() -> None:
    """Let each worker have a list of its own, and report for as long as it lives."""
    signals.worker_init.connect(_listen, dispatch_uid="reliable.probes.listen")
    signals.worker_ready.connect(_start, dispatch_uid="reliable.probes.start")
    signals.worker_shutting_down.connect(_stopping, dispatch_uid="reliable.probes.stopping")
    signals.worker_shutdown.connect(_stop, dispatch_uid="reliable.probes.stop")
    signals.task_revoked.connect(_revoked, dispatch_uid="reliable.probes.revoked")


def _listen(sender: Any, **_: Any) -> None:
    own = sender.app.amqp.queues.select_add(lists.direct(sender.hostname))
    # Celery has put its default exchange there.
    own.exchange = Exchange("")


def _start(sender: Any, **_: Any) -> None:
    global _reporter  # noqa: PLW0603 - one a process
    _reporter = Reporter(sender)
    _reporter.start()
    # A worker that got SIGQUIT sends no worker_shutdown; a child ends without this.
    atexit.register(_stop)


def _stopping(**_: Any) -> None:
    if _reporter is not None:
        _reporter.stopping_since = time.monotonic()
        _reporter.events.put("")


def _stop(**_: Any) -> None:
    global _reporter
    reporter, _reporter = _reporter, None
    if reporter is not None:
        reporter.stop()


def _revoked(sender: Any, request: Any, expired: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002
    if expired and sender.name == PROBE and _reporter is not None:
        _reporter.events.put(str(request.id))


def _requests() -> list[Any]:
    """What the parent has a message of, from its receipt to its end."""
    while True:
        try:
            return list({*list(state.reserved_requests), *list(state.active_requests)})
        except RuntimeError:  # the main thread changed the set meanwhile
            continue
