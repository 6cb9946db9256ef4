"""Fixtures for tests on hosts: `make test-hosts`, or `pytest -m hosts tests/hosts`."""

from collections.abc import Iterator

import pytest

from hosts.fleet import Fleet
from hosts.foundation import Foundation, prepare


@pytest.fixture(scope="session")
def foundation() -> Foundation:
    """Return Debian, packages and wheels. Without root this is an error, never a skip."""
    return prepare()


@pytest.fixture
def fleet(foundation: Foundation) -> Iterator[Fleet]:
    """Return a network without hosts; they end with the test."""
    fleet = Fleet(foundation)
    yield fleet
    fleet.close()
