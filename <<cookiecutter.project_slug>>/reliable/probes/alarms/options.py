"""Whom to tell: `settings.RELIABLE_ALARMS`."""

from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True)
class Outlets:
    """ping: the address of a dead man's switch, as healthchecks.io gives it. webhook: an address
    that gets JSON. mail: addresses; None for those of `ADMINS`. sentry: whether Sentry is told, if
    the project uses it. runbooks: the address of the runbooks' pages, for links in messages.
    """

    ping: str = ""
    webhook: str = ""
    mail: tuple[str, ...] | None = None
    sentry: bool = True
    runbooks: str = ""

    @property
    def addresses(self) -> list[str]:
        """Who gets e-mail. Django 6 writes ADMINS as addresses, Django 5 as names and addresses."""
        if self.mail is not None:
            return list(self.mail)
        return [each if isinstance(each, str) else each[1] for each in settings.ADMINS]


def outlets() -> Outlets:
    """What the settings say. Raises ImproperlyConfigured, in words that quote no address."""
    said: dict[str, Any] = dict(getattr(settings, "RELIABLE_ALARMS", {}))
    known = [field.name for field in fields(Outlets)]
    for name in said:
        if name not in known:
            raise ImproperlyConfigured(
                f"RELIABLE_ALARMS: unknown option {name!r}; the options are {', '.join(known)}."
            )
    for name in ("ping", "webhook", "runbooks"):
        if said.get(name) and not _is_address(said[name]):
            raise ImproperlyConfigured(
                f"RELIABLE_ALARMS: {name} is no address; write for example"
                " https://example.com/path."
            )
    if said.get("mail") is not None:
        said["mail"] = tuple(said["mail"])
        if not all("@" in each for each in said["mail"]):
            raise ImproperlyConfigured(
                'RELIABLE_ALARMS: mail holds no addresses; write for example ["ops@example.com"].'
            )
    return Outlets(**said)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    # Names and passwords in an address are not sent by Python's client.
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
