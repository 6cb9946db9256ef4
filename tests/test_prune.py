"""Which releases and environments a deploy removes from a host."""

from collections.abc import Callable

import pytest
from conftest import ansible_filter

HOME = "/srv/shop"

Prunable = Callable[..., list[str]]


@pytest.fixture(scope="module")
def prunable() -> Prunable:
    return ansible_filter("prunable", "prunable")


def release(name: str, environment: str, *, complete: bool = True) -> list[str]:
    folder = f"{HOME}/releases/{name}"
    mark = [f"{folder}/.complete "] if complete else []
    return [*mark, f"{folder}/.venv {HOME}/environments/{environment}"]


def environment(name: str) -> str:
    return f"{HOME}/environments/{name} "


def test_the_newest_complete_releases_stay(prunable: Prunable) -> None:
    lines = [*release("r1", "e1"), *release("r3", "e1"), *release("r2", "e1"), environment("e1")]
    assert prunable(lines, HOME, 2, []) == [f"{HOME}/releases/r1"]
    assert prunable(lines, HOME, 3, []) == []


def test_a_release_that_runs_stays_however_old(prunable: Prunable) -> None:
    lines = [*release("r1", "e1"), *release("r2", "e1"), *release("r3", "e1"), environment("e1")]
    assert prunable(lines, HOME, 1, ["r1"]) == [f"{HOME}/releases/r2"]


def test_a_release_that_is_not_complete_is_neither_counted_nor_removed(prunable: Prunable) -> None:
    lines = [*release("r9", "e2", complete=False), *release("r1", "e1"), environment("e1")]
    lines.append(environment("e2"))
    assert prunable(lines, HOME, 1, []) == []


def test_an_environment_goes_with_the_last_release_that_uses_it(prunable: Prunable) -> None:
    lines = [*release("r1", "e1"), *release("r2", "e1"), *release("r3", "e2")]
    lines += [environment("e1"), environment("e2"), environment("cut-off")]
    unused = f"{HOME}/environments/cut-off"
    assert prunable(lines, HOME, 3, []) == [unused]
    assert prunable(lines, HOME, 2, []) == [f"{HOME}/releases/r1", unused]
    assert prunable(lines, HOME, 1, []) == [
        f"{HOME}/releases/r1",
        f"{HOME}/releases/r2",
        unused,
        f"{HOME}/environments/e1",
    ]
