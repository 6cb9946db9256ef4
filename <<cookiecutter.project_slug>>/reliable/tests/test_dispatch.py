"""`delay()` in a transaction: what is sent, when, and what happens when the broker is away."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from celery import chain, chord, current_app, group
from celery.exceptions import QueueNotFound
from django.core.signals import request_finished, request_started
from django.db import connection, connections, transaction
from kombu.exceptions import EncodeError, OperationalError
from structlog.testing import capture_logs

from reliable import patience as bounds
from reliable.patience import BrokerTooSlow, Patience, patience
from reliable.tasks import at_once, dispatch_failed, lost_dispatches
from reliable.testing import tasks
from reliable.testing.proxy import Proxy
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

# Celery's stubs know nothing of `using`, and some calls here are wrong on purpose.
nap: Any = tasks.nap


class Undone(Exception):  # noqa: N818
    """Rolls a transaction back."""


def messages(system: System) -> list[tuple[str, Any]]:
    """The id and the first argument of each message in the queue, oldest first."""
    with system.servers.broker.client(system.broker_database) as client:
        raw = [json.loads(each) for each in client.lrange("default", 0, -1)]
    return [
        (each["headers"]["id"], json.loads(base64.b64decode(each["body"]))[0][0])
        for each in reversed(raw)
    ]


def sent(system: System) -> list[str]:
    return [name for _, name in messages(system)]


# --- With the commit, and never after a rollback -------------------------------------------------


def test_a_task_leaves_with_the_commit_under_the_id_that_was_returned(system: System) -> None:
    with transaction.atomic():
        result = nap.delay("a")
        assert sent(system) == []

    assert messages(system) == [(result.id, "a")]


def test_a_rolled_back_task_was_never_sent(system: System) -> None:
    with suppress(Undone), transaction.atomic():
        nap.delay("a")
        raise Undone

    assert sent(system) == []


def test_without_a_transaction_a_task_leaves_at_once(system: System) -> None:
    nap.delay("a")

    assert sent(system) == ["a"]


def test_a_task_sent_at_once_leaves_although_the_transaction_rolls_back(system: System) -> None:
    with suppress(Undone), transaction.atomic():
        with at_once():
            nap.delay("a")
        nap.delay("b")
        raise Undone

    assert sent(system) == ["a"]


def test_a_nested_block_waits_for_the_outermost(system: System) -> None:
    with transaction.atomic():
        with transaction.atomic():
            nap.delay("inner")
        nap.delay("outer")
        assert sent(system) == []

    assert sent(system) == ["inner", "outer"]


def test_a_savepoint_that_rolls_back_takes_only_its_own_tasks_along(system: System) -> None:
    with transaction.atomic():
        nap.delay("kept")
        with suppress(Undone), transaction.atomic():
            nap.delay("undone")
            raise Undone

    assert sent(system) == ["kept"]


def test_celerys_own_names_for_it_return_an_id_too(system: System) -> None:
    with transaction.atomic():
        results = [nap.delay_on_commit("a"), nap.apply_async_on_commit(["b"])]
        assert sent(system) == []

    assert messages(system) == [(results[0].id, "a"), (results[1].id, "b")]


def test_the_worker_gets_the_arguments_of_the_call_whatever_becomes_of_them(
    system: System,
) -> None:
    name = ["as called"]
    with transaction.atomic():
        nap.delay(name)
        name[0] = "changed"

    assert messages(system)[0][1] == ["as called"]


# --- Groups, chains, chords, send_task -----------------------------------------------------------


def test_a_group_waits_for_the_commit(system: System) -> None:
    with transaction.atomic():
        result: Any = group(nap.s(name) for name in "abc").delay()
        assert sent(system) == []

    assert messages(system) == [
        (each.id, name) for each, name in zip(result.children, "abc", strict=True)
    ]


def test_a_chain_waits_for_the_commit_and_runs_in_order(system: System) -> None:
    worker = system.worker()
    with suppress(Undone), transaction.atomic():
        chain(nap.si("undone"), nap.si("undone")).delay()
        raise Undone
    with transaction.atomic():
        chain(nap.si("first"), nap.si("second")).delay()

    wait_until(lambda: system.events.of("end") == ["first", "second"], "both, in order")
    worker.terminate()


def test_a_chord_is_refused_at_the_call_since_there_is_no_result_backend(system: System) -> None:
    with pytest.raises(NotImplementedError), transaction.atomic():
        chord([nap.s("a"), nap.s("b")])(nap.si("body"))

    assert sent(system) == []


def test_send_task_knows_no_transaction(system: System) -> None:
    with suppress(Undone), transaction.atomic():
        current_app.send_task(nap.name, ["a"])
        raise Undone

    assert sent(system) == ["a"]


# --- Several databases ---------------------------------------------------------------------------


@pytest.fixture
def second_database(system: System) -> Iterator[str]:
    connections.settings["other"] = connection.settings_dict
    yield "other"
    connections["other"].close()
    del connections["other"]
    del connections.settings["other"]


def test_a_task_waits_for_every_open_transaction(system: System, second_database: str) -> None:
    with transaction.atomic(using=second_database):
        with transaction.atomic():
            nap.delay("a")
        assert sent(system) == []

    assert sent(system) == ["a"]


def test_a_task_is_not_sent_when_one_of_two_transactions_rolls_back(
    system: System, second_database: str
) -> None:
    with suppress(Undone), transaction.atomic(using=second_database):
        with transaction.atomic():
            nap.delay("a")
        raise Undone

    assert sent(system) == []


def test_using_names_the_one_database_to_wait_for(system: System, second_database: str) -> None:
    with transaction.atomic():
        with transaction.atomic(using=second_database):
            nap.apply_async(["a"], using=second_database)
        assert sent(system) == ["a"]
        nap.apply_async(["b"], using=second_database)
        assert sent(system) == ["a", "b"]


# --- What a worker sends again -------------------------------------------------------------------


AGAIN = [tasks.retry_once_in_a_transaction, tasks.replace_itself_in_a_transaction]


@pytest.mark.parametrize("task", AGAIN)
def test_what_a_worker_sends_again_is_not_rolled_back_with_its_transaction(
    system: System, task: Any
) -> None:
    system.worker()
    task.delay("a")

    wait_until(lambda: system.events.of("end") == ["a"], "the second attempt")


# --- Mistakes are named at the call, not after the commit ----------------------------------------


def test_an_argument_that_is_not_json_is_refused_by_name(system: System) -> None:
    named = pytest.raises(
        EncodeError, match=r"nap: the argument `seconds` cannot be sent: .*object"
    )
    with named, transaction.atomic():
        nap.delay("a", seconds=object())

    assert sent(system) == []


def test_arguments_that_do_not_fit_and_queues_that_do_not_exist_are_refused(
    system: System,
) -> None:
    with transaction.atomic():
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
            nap.delay()
        with pytest.raises(QueueNotFound, match="typo"):
            nap.apply_async(["a"], queue="typo")

    assert sent(system) == []


# --- The broker is away --------------------------------------------------------------------------


@pytest.fixture
def proxy(system: System) -> Iterator[Proxy]:
    """A broker that this test can take away from its own process."""
    proxy = system.broker_proxy()
    patience.end()
    lost_dispatches.clear()
    with system.used_by_this_process():
        yield proxy
    patience.end()


AWAY = [pytest.param(Proxy.refuse, id="refused"), pytest.param(Proxy.freeze, id="frozen")]


@pytest.mark.parametrize("take_away", AWAY)
def test_outside_a_transaction_the_caller_learns_it_within_three_seconds(
    proxy: Proxy, take_away: Callable[[Proxy], None]
) -> None:
    nap.delay("opens the connection")
    take_away(proxy)

    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(OperationalError):
            nap.delay("a")
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize("take_away", AWAY)
def test_after_a_commit_ten_losses_cost_three_seconds_and_are_reported_one_by_one(
    proxy: Proxy, take_away: Callable[[Proxy], None]
) -> None:
    take_away(proxy)
    signalled, other_callbacks = [], []

    def receive(sender: Any, task_id: str, **_: Any) -> None:
        signalled.append(task_id)

    dispatch_failed.connect(receive)
    request_started.send(type(proxy))
    begun = time.monotonic()
    with capture_logs() as lines:
        with transaction.atomic():
            ids = [nap.delay("secret", seconds=number).id for number in range(10)]
            transaction.on_commit(lambda: other_callbacks.append("ran"))
        with transaction.atomic():
            ids.append(nap.delay("secret").id)
    seconds = time.monotonic() - begun
    request_finished.send(type(proxy))

    assert seconds < 3
    assert other_callbacks == ["ran"]
    assert signalled == ids
    assert [line["event"] for line in lines] == ["dispatch.failed"] * 11
    assert [line["task_id"] for line in lines] == ids
    assert {line["task"] for line in lines} == {nap.name}
    assert lines[0]["arguments"] == ["name", "seconds"]
    assert lines[-1]["arguments"] == ["name"]
    assert lines[-1]["lost_so_far"] == lost_dispatches[nap.name] == 11
    assert isinstance(lines[-1]["exc_info"], OperationalError)
    assert "secret" not in str(lines)


@pytest.mark.parametrize("take_away", AWAY)
def test_a_page_answers_within_three_seconds_more_and_each_lost_task_is_a_line_of_its_log(
    system: System, take_away: Callable[[Proxy], None]
) -> None:
    proxy = system.broker_proxy()
    web = system.web(wsgi="reliable.testing.site")
    usual = max(_seconds_of_pages(system, 16))

    take_away(proxy)
    slowest = max(_seconds_of_pages(system, 16))

    assert slowest < usual + 3
    assert len(sent(system)) == 16
    assert web.output.count("dispatch.failed") == 16


def _seconds_of_pages(system: System, count: int) -> list[float]:
    """Ask for pages from as many browsers as the site has threads."""

    def ask(_: int) -> float:
        begun = time.monotonic()
        assert system.get("/").text == "sent"
        return time.monotonic() - begun

    with ThreadPoolExecutor(8) as browsers:
        return list(browsers.map(ask, range(count)))


def test_the_next_request_tries_again(system: System, proxy: Proxy) -> None:
    proxy.refuse()
    request_started.send(type(proxy))
    with capture_logs() as lines, transaction.atomic():
        nap.delay("lost")
    proxy.accept()
    request_started.send(type(proxy))
    with transaction.atomic():
        nap.delay("sent")
    request_finished.send(type(proxy))

    assert len(lines) == 1
    assert sent(system) == ["sent"]


def test_a_command_gets_another_chance_after_a_while(
    system: System, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.refuse()
    with capture_logs() as lines:
        with transaction.atomic():
            nap.delay("lost")
        proxy.accept()
        with transaction.atomic():
            nap.delay("not tried")
        monkeypatch.setattr(bounds, "ANOTHER_CHANCE", 0)
        with transaction.atomic():
            nap.delay("sent")

    assert len(lines) == 2
    assert sent(system) == ["sent"]


def test_a_second_of_slow_answers_is_enough_and_any_number_of_fast_ones_is_not() -> None:
    patience = Patience()
    patience.begin()
    for _ in range(10_000):
        patience.waited(0.09)
    assert patience.lost is None
    patience.waited(0.9)
    assert patience.lost is None
    patience.waited(0.2)
    assert isinstance(patience.lost, BrokerTooSlow)


def test_a_retry_that_cannot_be_sent_is_reported(system: System) -> None:
    proxy = system.broker_proxy()
    worker = system.worker()
    tasks.retry_once_in_a_transaction.delay("a", wait_for="broker away")
    wait_until(lambda: system.events.of("start") == ["a"], "the first attempt")
    proxy.refuse()
    system.events.record("broker away", "a")
    worker.wait_for_output("dispatch.failed")
