"""Fixtures of several files: of those that harm processes and servers, and of the admin's."""

import os
import random

import pytest
from django.test import Client
from pytest_django import Settings

from reliable.testing.effects import Effects
from reliable.testing.system import System
from reliable.tests.staff import somebody


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


@pytest.fixture
def operator(db: None) -> Client:
    """Somebody who may change jobs and queues."""
    return somebody("ada", "operate_job", "operate_queue")


@pytest.fixture
def viewer(db: None) -> Client:
    """Somebody who may only look at them."""
    return somebody("grace", "view_job", "view_queue")


@pytest.fixture
def django_tasks(settings: Settings) -> None:
    """Let Django's task API make durable jobs."""
    from reliable.tests.api_tasks import TASKS

    settings.TASKS = TASKS
