"""The project's own site as a browser meets it: behind TLS, under a strict Content-Security-Policy.

Started by `system.web(wsgi="reliable.testing.strict_site")`. Nothing inline is allowed, nothing
from elsewhere, and no form to elsewhere.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

from reliable.jobs import durable_task

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " object-src 'none'"
)

_site = get_wsgi_application()

# The site knows these as its own, so that their arguments are shown.
for _name in ("charge", "email_receipt", "ship"):

    @durable_task(name=f"orders.tasks.{_name}", queue="default")
    def _(order_id: int) -> None:
        """Stand for a project's task: nobody runs it."""


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Stand in for the proxy, too: the browser of a test speaks HTTP, and the site expects TLS."""
    environ["HTTP_X_FORWARDED_PROTO"] = "https"
    for name in ("HTTP_ORIGIN", "HTTP_REFERER"):
        if environ.get(name, "").startswith("http:"):
            environ[name] = environ[name].replace("http:", "https:", 1)

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start_response(status, [*headers, ("Content-Security-Policy", POLICY)], *rest)

    return _site(environ, start)
