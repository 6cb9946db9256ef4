"""The site takes orders while the broker is away: a customer notices two seconds at most."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest

from reliable.testing.proxy import Proxy
from reliable.testing.system import System
from shop.management.commands.place_orders import Command, Site
from shop.models import Order, Product

# Each order waits two seconds for a frozen broker; FROZEN_ORDERS=200 takes a minute.
AWAY = [
    pytest.param(Proxy.refuse, 200, id="refused"),
    pytest.param(Proxy.freeze, int(os.environ.get("FROZEN_ORDERS", "40")), id="frozen"),
]


@pytest.mark.parametrize(("take_away", "count"), AWAY)
def test_every_order_is_taken_within_three_seconds_more_and_every_lost_charge_logged(
    system: System, take_away: Callable[[Proxy], None], count: int
) -> None:
    proxy = system.broker_proxy()
    web = system.web()
    Product.objects.update(stock=1000)
    usual = max(_order(system, 16))

    take_away(proxy)
    slowest = max(_order(system, count))

    assert slowest < usual + 3
    assert Order.objects.filter(state=Order.State.PLACED).count() == 16 + count
    assert web.output.count("dispatch.failed") == count


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
