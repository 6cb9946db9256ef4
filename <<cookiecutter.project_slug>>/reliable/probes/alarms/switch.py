"""A dead man's switch, as healthchecks.io and what speaks like it: it alarms when nobody pings.

Reference: https://healthchecks.io/docs/http_api/
"""

from urllib.parse import urlsplit

from reliable.probes.alarms.http import post
from reliable.probes.alarms.options import Outlets


def send(whom: Outlets, text: str, *, failing: bool) -> None:
    """Say that all is well, or with `failing` what is not."""
    url = whom.ping
    if failing:
        parts = urlsplit(url)  # it may end in ?create=1
        url = parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl()
    post(url, text.encode(), "text/plain; charset=utf-8")
