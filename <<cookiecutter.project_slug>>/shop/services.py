"""What the shop does, as plain functions: pages, tasks and the shell all call these.

Whatever a task calls may run twice, at once or one after the other, and has its effect once.
"""

from typing import NamedTuple

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Count, F, Sum
from django.db.models.functions import Now
from django.template.loader import render_to_string

from shop import payments, tasks
from shop.models import Order, Payment, Product


class OutOfStock(Exception):  # noqa: N818 - the field's name for it
    """There is less left than was ordered."""


class Sales(NamedTuple):
    """What one product has sold; `revenue` is in cents."""

    product: str
    orders: int
    revenue: int


@transaction.atomic
def place_order(product: Product, quantity: int, email: str) -> Order:
    """Take the goods from stock, record the order, and have it charged: all three or nothing.

    The charge is a row of this transaction, so no broker is needed, and none can lose it. Raises
    OutOfStock, and then nothing has changed.
    """
    # The condition stands in the UPDATE: a number read earlier may be sold by now.
    taken = Product.objects.filter(pk=product.pk, stock__gte=quantity).update(
        stock=F("stock") - quantity
    )
    if not taken:
        raise OutOfStock(f"Fewer than {quantity} of {product.name} are left.")
    order = Order.objects.create(
        product=product, quantity=quantity, total=product.price * quantity, email=email
    )
    tasks.charge_order.delay(order.pk)
    return order


def charge(order_id: int, key: str) -> None:
    """Take the money for a placed order; the receipt and the parcel follow.

    key: the same at each attempt to charge this order, and of no other. Raises what
    `payments.charge` raises; then it is unknown whether the customer was charged, so call it again.
    """
    order = Order.objects.get(pk=order_id)
    if order.state != Order.State.PLACED:
        return
    # If the commit below is lost, the next attempt gets the same charge, by the key.
    reference = payments.charge(order.total, key)
    with transaction.atomic():
        # Compare and set: of two runs at once the second waits here, and then finds it paid.
        claimed = Order.objects.filter(pk=order_id, state=Order.State.PLACED).update(
            state=Order.State.PAID, paid_at=Now()
        )
        if not claimed:
            return
        Payment.objects.create(order=order, amount=order.total, reference=reference)
        tasks.email_receipt.delay(order_id)
        tasks.ship_order.delay(order_id)


def ship(order_id: int) -> None:
    """Hand a paid order to the carrier."""
    Order.objects.filter(pk=order_id, state=Order.State.PAID).update(
        state=Order.State.SHIPPED, shipped_at=Now()
    )


@transaction.atomic
def send_receipt(order_id: int) -> None:
    """E-mail the receipt of a payment that has none yet.

    Raises OSError when the mail server cannot be reached or refuses, and may then be called again.
    No transaction spans a mail server: a crash between its answer and our commit repeats the mail.
    """
    # A second run waits here for the first. The payment is locked, not the order, which may be
    # shipped meanwhile: a mail server can take seconds.
    payment = Payment.objects.select_for_update().filter(order_id=order_id).first()
    # Read by a statement of its own: joined to the one that waits, the order would be shown as it
    # was before the wait (12 mails from 12 runs at once).
    order = Order.objects.select_related("product").get(pk=order_id)
    if payment is None or order.receipt_sent_at:
        return
    EmailMessage(
        subject=f"Receipt for your order {order.number}",
        body=render_to_string("shop/receipt.txt", {"order": order, "payment": payment}),
        to=[order.email],
    ).send()
    Order.objects.filter(pk=order_id).update(receipt_sent_at=Now())


def sales_report() -> list[Sales]:
    """The paid orders of each product, by name."""
    rows = Product.objects.annotate(
        paid=Count("orders__payment"), revenue=Sum("orders__payment__amount", default=0)
    ).order_by("name")  # a query that groups ignores Meta.ordering
    return [Sales(*row) for row in rows.values_list("name", "paid", "revenue")]
