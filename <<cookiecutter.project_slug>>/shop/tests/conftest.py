import pytest
from celery import current_app

from shop.models import Product


@pytest.fixture
def product(db: None) -> Product:
    return Product.objects.create(name="Whisk", slug="whisk", price=1250, stock=3)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run where they are sent: no broker is needed. Real workers are tested elsewhere."""
    monkeypatch.setitem(current_app.conf, "task_always_eager", value=True)
