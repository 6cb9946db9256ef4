import uuid
from datetime import datetime

from django.db import models
from django.urls import reverse


class Product(models.Model):
    name = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)
    price = models.PositiveIntegerField(help_text="in cents")
    # PostgreSQL refuses a negative number: two buyers of the last piece cannot both get it.
    stock = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(condition=models.Q(price__gte=1), name="shop_product_price"),
        )

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    class State(models.TextChoices):
        PLACED = "placed"
        PAID = "paid"
        SHIPPED = "shipped"

    # What URLs and e-mails show: it cannot be guessed and tells nobody how many orders there are.
    number = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField()
    # In cents, fixed when the order is placed: the price may change before the charge.
    total = models.PositiveIntegerField()
    email = models.EmailField()
    state = models.CharField(max_length=10, choices=State, default=State.PLACED)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    receipt_sent_at = models.DateTimeField(null=True, blank=True)
    shipped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(condition=models.Q(quantity__gte=1), name="shop_order_quantity"),
        )

    def __str__(self) -> str:
        return str(self.number)

    def get_absolute_url(self) -> str:
        return reverse("shop:order", args=[self.number])

    @property
    def timeline(self) -> list[tuple[str, datetime | None]]:
        """Each step with the moment it was reached, None while it is still to come."""
        return [
            ("Placed", self.created_at),
            ("Paid", self.paid_at),
            ("Receipt sent", self.receipt_sent_at),
            ("Shipped", self.shipped_at),
        ]

    @property
    def finished(self) -> bool:
        return all(moment for _, moment in self.timeline)


class Payment(models.Model):
    # One row per order, whatever the code does: the database's own guard against a second charge.
    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="payment")
    amount = models.PositiveIntegerField(help_text="in cents")
    reference = models.CharField(max_length=60, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.reference
