"""Texts for logs, reports and tables without the values that were passed to a task."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# A shorter value would be found in words that have nothing to do with it.
_SHORTEST_SECRET = 4


def redacted(text: str, args: Any, kwargs: Any) -> str:
    """The text with the values of a task's arguments replaced: they may be anybody's secrets."""
    return _without(text, [*(args or ()), *(kwargs or {}).values()], _SHORTEST_SECRET)


def without_secrets(text: str, secrets: Iterable[Any]) -> str:
    """The text without values that are known to be secret, however short."""
    return _without(text, list(secrets), 1)


def _without(text: str, found: list[Any], shortest: int) -> str:
    values = sorted(
        {each for each in _texts(found) if len(each) >= shortest}, key=len, reverse=True
    )
    for value in values:
        text = text.replace(value, "[redacted]")
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif not isinstance(value, bool | None):
        yield str(value)
