"""Addresses of Redis and Valkey."""

import re
from os.path import normpath
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_SOCKET_SCHEMES = {"unix", "redis+socket", "socket"}
_SCHEMES = {"redis", "rediss", "sentinel"} | _SOCKET_SCHEMES
_PASSWORD = re.compile("//[^/@]*?:([^/]+)@")


def check_url(variable: str, url: str) -> str:
    """Return the URL if it names a Redis server, or raise ImproperlyConfigured with an example.

    Celery takes an empty URL for RabbitMQ on this machine.
    """
    try:
        for each in url.split(";"):
            _address(each)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{variable} is no address of a Redis server ({error}); write for example"
            f" {variable}=redis://:password@127.0.0.1:6379/0."
        ) from error
    return url


def same_instance(one: str, other: str) -> bool:
    """Whether two URLs share a server, whatever their database numbers, users and schemes.

    Knows the forms of kombu (`redis+socket:///run/redis.sock`, several hosts separated by `;`) and
    of redis-py (`unix:///run/redis.sock`).
    """
    addresses = [{_address(each) for each in url.split(";")} for url in (one, other)]
    return bool(addresses[0] & addresses[1])


def passwords(url: str) -> list[str]:
    """The passwords in a URL, or in several separated by `;`, as written and as sent."""
    found = _PASSWORD.findall(url)
    return [*found, *map(unquote, found)]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"its scheme is {parts.scheme!r}")
    if parts.scheme in _SOCKET_SCHEMES:
        return normpath(unquote(parts.path)), 0
    host = parts.hostname or "127.0.0.1"
    return "127.0.0.1" if host in {"localhost", "::1"} else host, parts.port or 6379
