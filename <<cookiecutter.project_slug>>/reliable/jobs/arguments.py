"""Arguments of a job: what JSON, PostgreSQL and the size limit refuse, by the argument's name."""

import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.db.models import Model

#: Bytes of JSON. A job carries an id, not the data: the row is read at each offer and claim.
DEFAULT_LARGEST = 64 * 1024


# Of a number that PostgreSQL takes for a row's id.
_ID_BITS = 63


class BadArgument(TypeError):  # noqa: N818 - what it is
    """An argument that cannot be kept until the job runs."""


# To ask for a setting that is not set takes longer than to encode a call's arguments.
@cache
def largest() -> int:
    return int(getattr(settings, "RELIABLE_JOB_ARGUMENTS_BYTES", DEFAULT_LARGEST))


setting_changed.connect(lambda **_: largest.cache_clear(), weak=False)  # by a test


def bind(task: str, signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments by name, or BadArgument as the call itself would refuse them."""
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise BadArgument(f"{task}: {error}.") from error


def positional(signature: inspect.Signature) -> range:
    """How many positional arguments a call without others may have: then none need be bound."""
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    plain = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    needed = sum(parameter.default is parameter.empty for parameter in plain)
    if inspect.Parameter.KEYWORD_ONLY in kinds or inspect.Parameter.VAR_POSITIONAL in kinds:
        return range(0)
    return range(needed, len(plain) + 1)


def encode(
    task: str, signature: inspect.Signature, fits: range, args: Any, kwargs: Any
) -> tuple[str, str]:
    """The arguments as two JSON texts. Raises BadArgument that names the one at fault.

    fits: see `positional`.
    """
    if kwargs or len(args) not in fits:
        bind(task, signature, args, kwargs)
    elif len(args) == 1 and type(args[0]) is int and args[0].bit_length() <= _ID_BITS:
        return f"[{args[0]}]", "{}"  # what most calls have, and it cannot be refused
    try:
        texts = json_text(args), json_text(kwargs) if kwargs else "{}"
    except ValueError as error:
        raise _at_fault(task, bind(task, signature, args, kwargs), error) from error
    if (size := len(texts[0]) + len(texts[1])) > largest():
        named = bind(task, signature, args, kwargs)
        name = max(named, key=lambda name: len(json.dumps(named[name])))
        raise BadArgument(
            f"{task}: the arguments take {size:,} bytes as JSON, most of them `{name}`; the limit"
            f" is {largest():,}. Store the data in a row or a file, and pass its id."
        )
    return texts


def json_text(value: Any) -> str:
    """The value as JSON that PostgreSQL can hold, and that comes back as it was.

    Raises ValueError with the reason.
    """
    try:
        text = _encoder.encode(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (TypeError, ValueError):
        _check(value)
        raise
    # What JSON can say and jsonb cannot, or JSON turns into text, shows in these.
    if "\\u" in text or "{" in text:
        _check(value)
    return text


_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=True)


def _check(value: Any) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list | tuple):
        for each in value:
            _check(each)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(f"JSON would turn the key {key!r} into text; use a string")  # noqa: TRY004
            _check_text(key)
            _check(each)
    elif isinstance(value, Model):
        raise ValueError(  # noqa: TRY004
            f"a {type(value).__name__} is a row as it was, not as it will be; pass its primary key"
        )
    elif not (value is None or isinstance(value, bool | int | float)):
        raise ValueError(f"a {type(value).__name__} is no JSON; pass text or a number")


def _check_text(value: str) -> None:
    """Both are legal in JSON, and refused by jsonb."""
    if "\0" in value:
        raise ValueError("PostgreSQL cannot hold the character \\0")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it has half of a surrogate pair, which is no text") from error


def _at_fault(task: str, named: dict[str, Any], error: ValueError) -> BadArgument:
    for name, value in named.items():
        try:
            json_text(value)
        except ValueError as reason:
            return BadArgument(f"{task}: the argument `{name}` cannot be kept: {reason}.")
    return BadArgument(f"{task}: the arguments cannot be kept: {error}.")
