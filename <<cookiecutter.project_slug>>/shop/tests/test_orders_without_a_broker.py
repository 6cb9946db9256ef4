"""The site takes orders while the broker is away: no customer notices, and no order is lost.

`AWAY=30` keeps it away for so many seconds.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest

from reliable.testing.proxy import Proxy
from reliable.testing.system import System
from reliable.testing.waiting import let_pass, wait_until
from shop.management.commands.place_orders import Command, Site
from shop.models import Order, Payment, Product

AWAY = float(os.environ.get("AWAY", "0"))

FAULTS = [
    pytest.param(Proxy.refuse, Proxy.accept, id="refused"),
    pytest.param(Proxy.freeze, Proxy.thaw, id="frozen"),
]


@pytest.mark.parametrize(("take_away", "give_back"), FAULTS)
def test_every_order_is_taken_as_fast_as_ever_and_shipped_when_the_broker_is_back(
    system: System, take_away: Callable[[Proxy], None], give_back: Callable[[Proxy], None]
) -> None:
    proxy = system.broker_proxy()
    system.relay()
    for queue in ("critical", "mail", "default"):
        system.worker(queue)
    web = system.web()
    Product.objects.update(stock=1000)
    usual = max(_order(system, 16))
    _wait_until_finished(16)

    take_away(proxy)
    gone = time.monotonic()
    slowest = max(_order(system, 200))

    # A broker that is waited for takes two seconds and more.
    assert slowest < usual + 1
    assert Order.objects.filter(state=Order.State.PLACED).count() == 200

    let_pass(AWAY, since=gone)
    give_back(proxy)
    _wait_until_finished(216)
    assert Payment.objects.count() == 216
    assert "dispatch.failed" not in web.output


def _wait_until_finished(count: int) -> None:
    finished = Order.objects.filter(state=Order.State.SHIPPED, receipt_sent_at__isnull=False)
    wait_until(lambda: finished.count() == count, "the last order", timeout=90, saw=finished.count)


def _order(system: System, count: int) -> list[float]:
    """Place orders from as many browsers as the site has threads; return the seconds of each."""

    def order(_: int) -> float:
        site = Site(system.url, via_proxy=True)
        command = Command(stdout=StringIO())
        begun = time.monotonic()
        command.place(site, 1)  # raises CommandError unless it is taken
        return time.monotonic() - begun

    with ThreadPoolExecutor(8) as browsers:
        return list(browsers.map(order, range(count)))
