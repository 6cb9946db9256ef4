from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

# The first page, until the project has one of its own.
to_admin = [path("", RedirectView.as_view(pattern_name="admin:index"))]

urlpatterns = [
    path("admin/runbooks/", include("reliable.probes.runbooks")),
    path("admin/", admin.site.urls),
    path("", include("reliable.probes.urls")),
    # example: begin
    path("", include("shop.urls")),
    # example: end
    path("", include(to_admin)),
]
