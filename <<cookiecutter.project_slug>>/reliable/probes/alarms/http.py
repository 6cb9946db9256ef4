"""A POST, with a short time limit and without redirections."""

import urllib.request
from typing import Any

# Seconds.
TIMEOUT = 5.0


class _Stays(urllib.request.HTTPRedirectHandler):
    """An address is a secret: it is not carried to where an answer points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stays)


def post(url: str, body: bytes, content_type: str) -> None:
    """Raises OSError, which urllib's errors are, also if the answer is not 2xx."""
    headers = {"Content-Type": content_type, "User-Agent": "reliable-probes"}
    # Settings take no other scheme than http and https.
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    with _opener.open(request, timeout=TIMEOUT) as answer:
        answer.read(1024)
