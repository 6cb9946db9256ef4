"""Periodic tasks, reviewed and deployed with the code: docs/how-to/scheduling.md.

Beat runs on every host, and each tick happens once.
"""

from config.settings.probes import RELIABLE_PROBES
from reliable.schedule import Entry, crontab, every

SCHEDULE = {
    # Asks each queue and worker whether it moves; without it `/health/queues` answers 503.
    "probe": Entry(
        "reliable.probes.tick",
        every(seconds=RELIABLE_PROBES["interval"]),
        missed="skip",
        expires=RELIABLE_PROBES["interval"],
    ),
    "clear-expired-sessions": Entry(
        "accounts.tasks.clear_expired_sessions",
        crontab("10 4 * * *"),
        # Tomorrow's does the same work.
        missed="skip",
        expires=3600,
    ),
}
