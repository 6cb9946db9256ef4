from collections.abc import Iterator

import pytest
from pytest_django import Settings

from shop.models import Product
from shop.tests.provider import Provider


@pytest.fixture
def product(db: None) -> Product:
    return Product.objects.create(name="Whisk", slug="whisk", price=1250, stock=3)


@pytest.fixture
def provider(settings: Settings) -> Iterator[Provider]:
    """The provider that this test's process pays at; others need its address in PAYMENT_URL."""
    provider = Provider()
    settings.PAYMENT_URL = provider.url
    yield provider
    provider.close()
