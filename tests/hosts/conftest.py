"""Fixtures for tests on hosts: `make test-hosts`, or `pytest -m hosts tests/hosts`."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.deploys import DEPLOYED, Deploys, wait
from hosts.fleet import Fleet
from hosts.foundation import Foundation, prepare
from hosts.golden import PROVISIONED, clone
from hosts.site import ONE, Site, new_site


@pytest.fixture(scope="session", autouse=True)
def _tidied_after_a_term() -> Iterator[None]:
    """Let TERM do what Ctrl-C does: hosts, their network and playbooks end with the tests."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def foundation() -> Foundation:
    """Return Debian, packages and wheels. Without root this is an error, never a skip."""
    return prepare()


@pytest.fixture
def fleet(foundation: Foundation) -> Iterator[Fleet]:
    """Return a network without hosts; they end with the test."""
    fleet = Fleet(foundation)
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def bare(project: Path, fleet: Fleet) -> Site:
    """Return one machine for everything, and nothing on it."""
    return new_site(project, fleet, ONE)


@pytest.fixture
def provisioned(project: Path, fleet: Fleet) -> Site:
    """Return four hosts, provisioned and running; cloned from ones that are made once."""
    return clone(PROVISIONED, project, fleet)


@pytest.fixture(scope="module")
def shared(project: Path, foundation: Foundation) -> Iterator[Site]:
    """Return the same for all tests of a module that only look, or tidy up themselves.

    Such a module uses no other fleet: a second one at the same time would have a network of its
    own, for which golden sites must be made anew.
    """
    fleet = Fleet(foundation)
    try:
        yield clone(PROVISIONED, project, fleet)
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def deploys(project: Path, foundation: Foundation) -> Iterator[Deploys]:
    """Return four hosts on which a first release works, for all deploys of a module."""
    fleet = Fleet(foundation)
    try:
        deploys = Deploys(clone(DEPLOYED, project, fleet))
        wait(deploys.runs, "the site does not come back after a boot", 120)
        yield deploys
    finally:
        fleet.close()
