"""Sends from a thread for each outlet: who has to tell something never waits, and never fails."""

import atexit
import os
import queue
import smtplib
import threading
import time
import urllib.error
from collections.abc import Callable

import structlog

logger = structlog.stdlib.get_logger("reliable.probes")

# Messages that wait for one outlet; seconds for the rest of them when the process ends.
_WAITING = 50
_AT_EXIT = 5.0

Send = Callable[[], None]


class Post:
    """Outlets by name, each with its queue and thread, from its first message on.

    pauses: seconds before each further attempt.
    """

    def __init__(self, pauses: tuple[float, ...] = (1.0, 5.0)) -> None:
        self.pauses = pauses
        self._boxes: dict[str, _Box] = {}
        self._process = 0

    def send(self, name: str, send: Send) -> None:
        """Let the outlet's thread do it. If too many wait there, the message is dropped."""
        if self._process != os.getpid():  # a fork has the boxes, but not the threads
            self._boxes, self._process = {}, os.getpid()
            atexit.register(self.close)
        box = self._boxes.get(name)
        if box is None:
            box = self._boxes[name] = _Box(name, self.pauses)
            box.start()
        box.put(send)

    def close(self) -> None:
        """Wait some seconds for what is to be sent."""
        boxes, self._boxes = self._boxes, {}
        end = time.monotonic() + _AT_EXIT
        for box in boxes.values():
            box.stop()
        for box in boxes.values():
            box.join(max(0.0, end - time.monotonic()))


class _Box(threading.Thread):
    def __init__(self, name: str, pauses: tuple[float, ...]) -> None:
        super().__init__(name=f"alarms-{name}", daemon=True)
        self.outlet = name
        self.pauses = pauses
        self._waiting: queue.Queue[Send | None] = queue.Queue(_WAITING)
        self._stopping = threading.Event()
        self._broken = False

    def put(self, send: Send) -> None:
        try:
            self._waiting.put_nowait(send)
        except queue.Full:
            self._say("too many wait for it")

    def stop(self) -> None:
        self._stopping.set()  # no pause is made any more
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return

    def run(self) -> None:
        while (send := self._waiting.get()) is not None:
            self._send(send)

    def _send(self, send: Send) -> None:
        reason = ""
        for pause in (*self.pauses, None):
            try:
                send()
            except Exception as error:  # noqa: BLE001 - whatever it is, beat goes on
                reason = described(error)
            else:
                if self._broken:
                    logger.info("alarm.sent_again", outlet=self.outlet)
                self._broken = False
                return
            if pause is None or self._stopping.wait(pause):
                break
        self._say(reason)

    def _say(self, reason: str) -> None:
        if not self._broken:
            logger.warning("alarm.not_sent", outlet=self.outlet, reason=reason)
        self._broken = True


def described(error: BaseException) -> str:
    """Why it failed, without the text of errors that may quote an address, which is a secret."""
    match error:
        case urllib.error.HTTPError(code=code):
            return f"it answered HTTP {code}"
        case urllib.error.URLError(reason=BaseException() as reason):
            return described(reason)
        case TimeoutError():
            return "it did not answer in time"
        case smtplib.SMTPResponseException(smtp_code=code):
            return f"{type(error).__name__} {code}"
        case OSError(strerror=str() as text):
            return f"{type(error).__name__}: {text}"
        case _:
            return type(error).__name__
