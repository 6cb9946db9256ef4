"""The command against a real HTTP server, whose jobs run in a thread beside it."""

import socket
from collections.abc import Iterator
from io import StringIO
from threading import Event, Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from reliable.testing.run_jobs import run_jobs
from shop.models import Order

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("product", "worker"),
]


@pytest.fixture
def worker(db: None) -> Iterator[None]:
    """Jobs run as they come, without a broker. Real workers are tested elsewhere."""
    stop = Event()

    def work() -> None:
        while not stop.wait(0.05):
            run_jobs(raise_errors=False)
        connection.close()

    thread = Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture(params=["development"])
def site(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    # Not `live_server`: it lives for the session, and middleware reads its settings at the start.
    production = request.param == "production"
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.SECURE_SSL_REDIRECT = settings.CSRF_COOKIE_SECURE = production
    server = LiveServer("localhost")
    yield server.url
    server.stop()


def test_it_prints_each_step_of_each_order(site: str) -> None:
    said = StringIO()

    call_command("place_orders", url=site, count=2, stdout=said)

    assert Order.objects.filter(state=Order.State.SHIPPED).count() == 2
    for step in ("placed", "paid after", "receipt sent after", "shipped after"):
        assert said.getvalue().count(step) == 2
    assert "2 orders paid, receipted and shipped" in said.getvalue()


@pytest.mark.parametrize("site", ["production"], indirect=True)
def test_it_orders_from_a_production_site_as_its_proxy_would(site: str) -> None:
    with pytest.raises(CommandError, match="--via-proxy"):
        call_command("place_orders", url=site, count=1, stdout=StringIO())

    call_command("place_orders", url=site, count=1, via_proxy=True, stdout=StringIO())

    assert Order.objects.get().finished


def test_it_names_the_order_and_the_step_that_is_missing(site: str, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # nobody listens

    # Long enough for the other steps, which the thread takes meanwhile.
    with pytest.raises(CommandError) as error:
        call_command("place_orders", url=site, count=1, timeout=3, stdout=StringIO())

    number = Order.objects.get().number
    assert str(error.value) == f"Order {number} is unfinished after 3 s; missing: receipt sent."


def test_it_says_so_when_the_site_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(CommandError, match=f"http://127.0.0.1:{port}/ does not answer"):
        call_command("place_orders", url=f"http://127.0.0.1:{port}", stdout=StringIO())


@pytest.mark.parametrize("wrong", [{"url": "file:///etc/passwd"}, {"count": 0}])
def test_it_refuses_what_it_cannot_do(wrong: dict[str, object]) -> None:
    with pytest.raises(CommandError, match="write "):
        call_command("place_orders", **wrong)
