"""What beat does at each tick: it says that it ticks, and asks everybody."""

import logging
from typing import Any

import structlog
from celery import current_app, signals
from django.conf import settings
from django.db import Error, connection

from reliable.probes import lists, sql, watch
from reliable.probes.database import Session
from reliable.probes.options import Options, options
from reliable.probes.sender import Sender
from reliable.probes.tasks import TICK

logger = structlog.stdlib.get_logger("reliable.probes")


def connect() -> None:
    """Let beat tick when it starts, and keep Celery's line about each tick out of its log."""
    signals.beat_init.connect(_begin, dispatch_uid="reliable.probes.begin")


def _begin(**_: Any) -> None:
    logging.getLogger("celery.beat").addFilter(lambda record: TICK not in record.getMessage())
    # With a broker that is down, Celery's beat waits for it before its first entry.
    tick()


_session = Session()
_sender = Sender(_session)
_lost = False


def tick() -> None:
    """Note the tick, ask everybody, judge. An error is logged: the next tick tries again."""
    global _lost  # noqa: PLW0603 - so that it is said once
    said = options()
    # The provider's, of this thread, which a restart of the database may have broken.
    connection.close_if_unusable_or_obsolete()
    try:
        _session.rows(sql.TICK, {"release": str(getattr(settings, "RELEASE", ""))})
        _session.rows(sql.DECLARE, {"names": lists.declared(current_app)})
        _retire(said)
        _sender.round()
        _session.rows(sql.TICKED)
        watch.judge(_session, said)
        _session.rows(sql.PURGE_SAMPLES, {"seconds": said.samples})
        _session.rows(sql.PURGE_TRANSITIONS, {"seconds": said.transitions})
        _session.rows(sql.PURGE_RETIRED)
        _lost = False
    except Error as error:
        if not _lost:
            logger.warning("probe.not_noted", error=str(error).strip())
        _lost = True


def close() -> None:
    """Let go of database and broker, until the next tick."""
    _session.close()
    _sender.close()


def _retire(said: Options) -> None:
    for (name,) in _session.rows(sql.FORGET, {"seconds": said.forget}):
        logger.info("probe.retired", target=name)
        try:
            _sender.forget(name)
        except Exception as error:  # noqa: BLE001 - kombu's and redis-py's have no common one
            _sender.close()
            logger.info("probe.left_in_list", target=name, error=str(error))
