from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from shop.forms import OrderForm
from shop.models import Order, Product
from shop.services import OutOfStock, place_order, sales_report


@require_http_methods(["GET", "HEAD", "POST"])
def products(request: HttpRequest) -> HttpResponse:
    """The products; posted here, a product's form becomes an order."""
    products = Product.objects.all()
    forms = {product: OrderForm(auto_id=f"{product.slug}-%s") for product in products}
    if request.method == "POST":
        product = get_object_or_404(products, slug=request.POST.get("product", ""))
        form = forms[product] = OrderForm(request.POST, auto_id=f"{product.slug}-%s")
        if form.is_valid():
            try:
                return redirect(place_order(product, **form.cleaned_data))
            except OutOfStock as error:
                form.add_error("quantity", str(error))
    return render(request, "shop/products.html", {"forms": forms})


@require_safe
def order(request: HttpRequest, number: UUID) -> HttpResponse:
    """One order with its timeline; the page reloads itself until the order is finished."""
    order = get_object_or_404(Order.objects.select_related("product"), number=number)
    return render(request, "shop/order.html", {"order": order})


@require_safe
def orders(request: HttpRequest) -> HttpResponse:
    """The latest orders, of everybody: a real shop shows this to its staff alone."""
    latest = Order.objects.select_related("product")[:50]
    return render(request, "shop/orders.html", {"orders": latest, "report": sales_report()})


@require_safe
def state(_request: HttpRequest, number: UUID) -> HttpResponse:
    """One order, for scripts."""
    order = get_object_or_404(Order, number=number)
    sent = order.receipt_sent_at is not None
    return JsonResponse({"number": str(order.number), "state": order.state, "receipt_sent": sent})
