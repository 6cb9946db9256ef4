from django.contrib import admin

from shop.models import Order, Payment, Product

admin.site.register(
    Product,
    list_display=("name", "price", "stock"),
    search_fields=("name",),
    prepopulated_fields={"slug": ("name",)},
)

admin.site.register(
    Order,
    list_display=("number", "product", "quantity", "state", "created_at"),
    list_filter=("state", "product"),
    list_select_related=("product",),
    search_fields=("number", "email"),
    # The services move an order; a state changed by hand would send no receipt.
    readonly_fields=(
        *("number", "product", "quantity", "total", "state"),
        *("created_at", "paid_at", "receipt_sent_at", "shipped_at"),
    ),
)

admin.site.register(
    Payment,
    list_display=("reference", "amount", "created_at"),
    search_fields=("reference",),
    readonly_fields=("order", "amount", "reference", "created_at"),
)
