"""Ids of jobs."""

import os
import time
import uuid
from datetime import datetime
from hashlib import blake2b


def new() -> uuid.UUID:
    """A UUIDv7 (RFC 9562): ordered by time, so that new rows stand together in an index."""
    milliseconds = time.time_ns() // 1_000_000
    return versioned(milliseconds * 2**80 + int.from_bytes(os.urandom(10), "big"), 7)


def at(moment: datetime) -> uuid.UUID:
    """What is smaller than each id made from then on."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return uuid.UUID(bytes=milliseconds.to_bytes(6, "big") + bytes(10))


def of_child(parent: uuid.UUID, task: str, arguments: str, occurrence: int) -> uuid.UUID:
    """The same id each time: a parent that runs again makes no second child (UUIDv8).

    occurrence: how many children with the same task and arguments it has made before.
    """
    text = "\0".join((task, arguments, str(occurrence)))
    digest = blake2b(text.encode(), key=parent.bytes, digest_size=10).digest()
    return versioned(int.from_bytes(parent.bytes[:6] + digest, "big"), 8)


def versioned(number: int, version: int) -> uuid.UUID:
    """128 bits as a UUID of a version."""
    return uuid.UUID(int=number & _FREE | version * 2**76 | 2**63)


# All bits but those that say which version a UUID is, and of which variant.
_FREE = 2**128 - 1 - 0xF * 2**76 - 0x3 * 2**62
