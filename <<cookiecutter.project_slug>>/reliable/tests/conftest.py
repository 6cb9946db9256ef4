"""Fixtures of the tests that harm processes and servers."""

import os
import random

import pytest

from reliable.testing.effects import Effects
from reliable.testing.system import System


@pytest.fixture
def effects(system: System) -> Effects:
    """The tables that durable tasks of a test write to."""
    return Effects(system)


@pytest.fixture
def chance() -> random.Random:
    """Random numbers that come again with the printed seed: SEED=123 make test-all."""
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 2**31)
    print(f"SEED={seed}")
    return random.Random(seed)
