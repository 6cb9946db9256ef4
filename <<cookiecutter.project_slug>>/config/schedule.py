"""Periodic tasks, reviewed and deployed with the code: docs/how-to/scheduling.md.

Beat runs on every host, and each tick happens once.
"""

from reliable.schedule import Entry, crontab

SCHEDULE = {
    "clear-expired-sessions": Entry(
        "accounts.tasks.clear_expired_sessions",
        crontab("10 4 * * *"),
        # Tomorrow's does the same work.
        missed="skip",
        expires=3600,
    ),
}
