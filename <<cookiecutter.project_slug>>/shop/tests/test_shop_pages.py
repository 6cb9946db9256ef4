import uuid

import pytest
from django.test import Client

from reliable.testing.run_jobs import run_jobs
from shop import services
from shop.models import Order, Product


def test_every_product_is_offered_with_its_price(client: Client, product: Product) -> None:
    page = client.get("/", secure=True).content.decode()

    assert product.name in page
    assert "€12.50" in page


def test_a_sold_out_product_has_no_form(client: Client, product: Product) -> None:
    Product.objects.update(stock=0)

    page = client.get("/", secure=True).content.decode()

    assert product.name in page
    assert "Sold out" in page
    assert "<form" not in page


def test_a_posted_form_becomes_an_order_with_a_page_of_its_own(
    client: Client, product: Product
) -> None:
    form = {"product": product.slug, "quantity": "2", "email": "ada@example.com"}

    answer = client.post("/", form, secure=True)

    order = Order.objects.get()
    assert (order.product, order.quantity, order.email) == (product, 2, "ada@example.com")
    assert answer.headers["Location"] == f"/orders/{order.number}/"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("email", "ada", "Enter a valid email address."),
        ("quantity", "0", "greater than or equal to 1"),
        ("quantity", "4", "Fewer than 4 of Whisk are left."),
    ],
)
def test_a_form_that_cannot_be_taken_says_why(
    client: Client, product: Product, field: str, value: str, sentence: str
) -> None:
    form = {"product": product.slug, "quantity": "1", "email": "ada@example.com"} | {field: value}

    answer = client.post("/", form, secure=True)

    assert sentence in answer.content.decode()
    assert not Order.objects.exists()


@pytest.mark.usefixtures("product")
def test_an_order_of_an_unknown_product_is_not_found(client: Client) -> None:
    assert client.post("/", {"product": "unicorn"}, secure=True).status_code == 404


def test_the_page_of_an_order_reloads_itself_until_the_order_is_finished(
    client: Client, product: Product
) -> None:
    order = services.place_order(product, 1, "ada@example.com")
    assert 'http-equiv="refresh"' in client.get(f"/orders/{order.number}/", secure=True).text

    run_jobs()

    page = client.get(f"/orders/{order.number}/", secure=True).text
    assert 'http-equiv="refresh"' not in page
    assert page.count('class="done"') == 4


def test_the_orders_page_shows_orders_and_totals(client: Client, product: Product) -> None:
    order = services.place_order(product, 2, "ada@example.com")
    services.charge(order.pk, key="a")

    page = client.get("/orders/", secure=True).content.decode()

    assert order.get_absolute_url() in page
    assert "€25.00" in page


def test_a_script_can_read_how_far_an_order_is(client: Client, product: Product) -> None:
    order = services.place_order(product, 1, "ada@example.com")
    services.charge(order.pk, key="a")
    services.send_receipt(order.pk)

    answer = client.get(f"/orders/{order.number}/state/", secure=True)

    assert answer.json() == {"number": str(order.number), "state": "paid", "receipt_sent": True}


@pytest.mark.django_db
def test_a_number_that_no_order_has_is_not_found(client: Client) -> None:
    assert client.get(f"/orders/{uuid.uuid4()}/", secure=True).status_code == 404


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("path", ["/", "/orders/"])
def test_no_page_needs_an_inline_script_or_style(client: Client, path: str) -> None:
    page = client.get(path, secure=True).content.decode()

    assert "<script" not in page
    assert "<style" not in page
    assert "style=" not in page


def test_the_admin_shows_products_and_orders(admin_client: Client, product: Product) -> None:
    order = services.place_order(product, 1, "ada@example.com")
    services.charge(order.pk, key="a")

    for path in ("product/", "order/", "order/?q=ada", f"order/{order.pk}/change/", "payment/"):
        assert admin_client.get(f"/admin/shop/{path}", secure=True).status_code == 200
