"""`prunable`: the releases that are too old, and the environments that no other release uses."""

from collections.abc import Callable, Collection, Iterable
from pathlib import PurePosixPath
from typing import Any


def prunable(lines: Iterable[str], home: str, keep: int, in_use: Collection[str]) -> list[str]:
    """Paths to remove.

    lines: `path target` of each release's mark (`.complete`) and link to its environment
        (`.venv`), and of each environment.
    keep: how many complete releases stay, the newest; one that is not complete always stays.
    in_use: releases that stay besides.
    """
    releases, environments = PurePosixPath(home, "releases"), PurePosixPath(home, "environments")
    complete: list[str] = []
    uses: dict[str, str] = {}
    made: list[str] = []
    for line in lines:
        name, _, target = line.partition(" ")
        path = PurePosixPath(name)
        if path.parent == environments:
            made.append(name)
        elif path.name == ".complete":
            complete.append(path.parent.name)
        else:
            uses[path.parent.name] = target
    old = set(sorted(complete, reverse=True)[keep:]) - set(in_use)
    used = {target for release, target in uses.items() if release not in old}
    return [str(releases / name) for name in sorted(old)] + sorted(set(made) - used)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"prunable": prunable}
