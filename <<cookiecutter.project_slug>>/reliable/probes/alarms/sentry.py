"""An event in Sentry for each target that fails or is late; its end is none.

Sentry has no event that ends an issue: one would open again what somebody has resolved.
"""

import sys
from typing import Any, Literal

from reliable.probes.alarms.message import Alarm
from reliable.probes.alarms.options import Outlets
from reliable.probes.states import State


def active() -> bool:
    """Whether the project reports to Sentry; who does not import it, does not."""
    sentry: Any = sys.modules.get("sentry_sdk")
    return sentry is not None and bool(sentry.get_client().dsn)


def send(whom: Outlets, alarms: list[Alarm]) -> None:
    import sentry_sdk

    for alarm in alarms:
        if alarm.state == State.OK:
            continue
        with sentry_sdk.new_scope() as scope:
            scope.fingerprint = ["probe", alarm.kind, alarm.target]
            for name in ("kind", "target", "state", "hop"):
                scope.set_tag(f"probe.{name}", str(getattr(alarm, name)))
            level: Literal["warning", "error"]
            level = "warning" if alarm.state == State.LATE else "error"
            scope.capture_message(alarm.text(whom.runbooks), level=level)
