from django.urls import path

from shop import views

app_name = "shop"
urlpatterns = [
    path("", views.products, name="products"),
    path("orders/", views.orders, name="orders"),
    path("orders/<uuid:number>/", views.order, name="order"),
    path("orders/<uuid:number>/state/", views.state, name="state"),
]
