"""An order, from the form in the browser to the parcel, through real processes."""

from django.core.management import call_command

from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from shop.models import Order


def test_an_order_over_http_is_processed_by_real_workers_under_supervisor(system: System) -> None:
    layout = system.layout()
    web = layout.web(binds=(f"127.0.0.1:{system.port}",))
    programs = [web, *layout.workers(), layout.relay()]
    supervisord = system.supervised(programs)
    names = {f"generation-a:{program.name}" for program in programs}
    wait_until(
        lambda: all(supervisord.states().get(name) == "RUNNING" for name in names),
        "all programs",
        timeout=60,
        saw=supervisord.states,
    )
    wait_until(system.answers, "an answer of the site", timeout=60)
    call_command("place_orders", "--url", system.url, "--count", "2", "--via-proxy")
    orders = Order.objects.all()
    assert [order.state for order in orders] == [Order.State.SHIPPED] * 2
    assert all(order.receipt_sent_at for order in orders)
    assert all(order.payment.amount == order.total for order in orders)


def test_the_admin_has_its_css_with_production_settings(system: System) -> None:
    system.web()
    page = system.get("/admin/login/")
    assert page.status == 200
    stylesheet = page.text.split('href="')[1].split('"')[0]
    assert system.get(stylesheet).text.count("{") > 10
