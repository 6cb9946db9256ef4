"""Ids of jobs."""

import os
import time
import uuid
from datetime import datetime
from hashlib import blake2b


def new() -> uuid.UUID:
    """A UUIDv7 (RFC 9562): ordered by time, so that new rows stand together in an index."""
    milliseconds = time.time_ns() // 1_000_000
    return versioned(milliseconds.to_bytes(6, "big") + os.urandom(10), 7)


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
    return versioned(parent.bytes[:6] + digest, 8)


def versioned(data: bytes, version: int) -> uuid.UUID:
    """Sixteen bytes as a UUID of a version."""
    number = int.from_bytes(data, "big")
    number = number & ~(0xF * 2**76) | version * 2**76
    return uuid.UUID(int=number & ~(0x3 * 2**62) | 2**63)
