"""Waiting for a condition with a deadline, never for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.05


def wait_until(
    condition: Callable[[], T],
    what: str,
    *,
    timeout: float = 15.0,
    saw: Callable[[], object] | None = None,
) -> T:
    """Return the condition's first true value.

    what: completes "waited for …". timeout: seconds. saw: what to report if it never comes true;
    the condition's last value by default. Raises AssertionError with both.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            last = saw() if saw else value
            raise AssertionError(f"waited {timeout:g} s for {what}; last saw: {last}")
        time.sleep(_PAUSE)


def let_pass(seconds: float, *, since: float) -> None:
    """Let a fault last so many seconds from `since`, a moment of the monotonic clock.

    Never to wait for an effect: that has a condition.
    """
    while time.monotonic() < since + seconds:
        time.sleep(_PAUSE)
