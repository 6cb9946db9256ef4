"""JSON to whatever takes it.

    {
        "version": 1,
        "text": "mail has not answered for 42 s: ... Runbook: https://...",
        "release": "...",
        "alarms": [{
            "kind": "queue", "target": "mail", "state": "silent", "before": "ok", "lasted": 3600,
            "hop": "worker", "why": "mail has not answered for 42 s: ...", "runbook": "https://..."
        }]
    }

`text` is what chats show. `before` was told last, and that was `lasted` seconds ago. A `state` of
`ok` is the end of an alarm.
"""

import json

from django.conf import settings

from reliable.probes.alarms.http import post
from reliable.probes.alarms.message import Alarm
from reliable.probes.alarms.options import Outlets


def send(whom: Outlets, alarms: list[Alarm]) -> None:
    document = {
        "version": 1,
        "text": "\n".join(alarm.text(whom.runbooks) for alarm in alarms),
        "release": str(getattr(settings, "RELEASE", "")),
        "alarms": [alarm.document(whom.runbooks) for alarm in alarms],
    }
    post(whom.webhook, json.dumps(document).encode(), "application/json")
