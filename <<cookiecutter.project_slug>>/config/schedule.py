"""Periodic tasks, reviewed and deployed with the code; beat reads them at start.

Each entry may be late or missed while beat is down, and is not repeated:
https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html
"""

from typing import Any

from celery.schedules import crontab

SCHEDULE: dict[str, dict[str, Any]] = {
    "clear-expired-sessions": {
        "task": "accounts.tasks.clear_expired_sessions",
        "schedule": crontab(hour="4", minute="10"),
        # A tick that nobody took within an hour is dropped: tomorrow's does the same work.
        "options": {"expires": 3600},
    },
}
