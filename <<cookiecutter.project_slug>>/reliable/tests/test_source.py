"""What the reader of the source takes for a mistake, and what it lets pass."""

import pytest

from reliable.checks.source import Known, scan

KNOWN = Known({"charge": False, "safe": True}, frozenset({"Order"}), True, 3600)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def view(request):\n    charge.delay(1)", {"reliable.E010"}),
        ("def view(request):\n    safe.delay(1)", set()),
        ("@non_atomic_requests\ndef view(request):\n    charge.delay(1)", set()),
        ("def view(request):\n    def later():\n        charge.delay(1)", set()),
        ("def view(request):\n    other.delay(1)", set()),
        (
            "from django.db.transaction import atomic as a\nwith a():\n    charge.delay(1)",
            {"reliable.E010"},
        ),
        ("class Order:\n    def pay(self):\n        charge.delay(self)", {"reliable.E011"}),
        ("class Order:\n    def pay(self):\n        charge.delay(self.pk)", set()),
        ("def pay(order: Order):\n    charge.apply_async([order])", {"reliable.E011"}),
        ("def pay():\n    o = Order.objects.get()\n    charge.delay(o)", {"reliable.E011"}),
        ("def pay():\n    o = Order.objects.get()\n    o = o.pk\n    charge.delay(o)", set()),
        ("from other import chord\nchord()", set()),
        ("charge.apply_async([1], eta=now() + timedelta(days=1))", {"reliable.W108"}),
        ("charge.apply_async([1], eta=now() + timedelta(minutes=5))", set()),
        ("from celery import chord\nchord(x)  # silence reliable.E012: may be lost", set()),
        ("from celery import chord\nchord(x)  # silence reliable.E012:", {"reliable.E012"}),
        ("this is no Python .delay", set()),
    ],
)
def test_source_is_read_as_it_would_run(source: str, found: set[str]) -> None:
    assert {finding.id for finding in scan(source, "module.py", KNOWN)} == found
