"""Who may see the state of queues: whoever knows the token, or asks from an internal network."""

import ipaddress
from functools import lru_cache
from typing import TypedDict

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

#: Loopback and what RFC 1918 and RFC 4193 set apart.
INTERNAL = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")


class Access(TypedDict, total=False):
    """`settings.RELIABLE_HEALTH`. token: empty for none. networks: of who needs none."""

    token: str
    networks: list[str]


def allowed(request: HttpRequest) -> bool:
    """Whether the request bears the token, or comes from an internal network."""
    said: Access = getattr(settings, "RELIABLE_HEALTH", Access())
    token = said.get("token", "")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token and scheme.lower() == "bearer" and constant_time_compare(given.strip(), token):
        return True
    return _internal(_client(request), tuple(said.get("networks", INTERNAL)))


def _client(request: HttpRequest) -> str:
    """The address of who asks; behind a proxy of ours, what that has seen.

    The proxy speaks through a unix socket, which has no address, or from an internal one. It adds
    the last address itself; those before it may be a visitor's invention.
    """
    address: str = request.META.get("REMOTE_ADDR", "")
    forwarded: str = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if forwarded and (not address or _internal(address, INTERNAL)):
        return forwarded.rpartition(",")[2].strip()
    return address or "127.0.0.1"


def _internal(address: str, networks: tuple[str, ...]) -> bool:
    try:
        where = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(where, ipaddress.IPv6Address) and where.ipv4_mapped:
        where = where.ipv4_mapped
    return any(where in network for network in _parsed(networks))


@lru_cache
def _parsed(networks: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(network) for network in networks]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"RELIABLE_HEALTH: {error}; write a network, for example 10.0.0.0/8."
        ) from error
