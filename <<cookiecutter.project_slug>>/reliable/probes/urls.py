"""`path("", include("reliable.probes.urls"))`."""

from django.urls import path

from reliable.probes import views

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("health/queues", views.queues, name="health-queues"),
    path("health/queues/<str:name>", views.queue, name="health-queue"),
    path("metrics", views.metrics, name="metrics"),
]
