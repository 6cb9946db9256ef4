"""A site for tests of what a request costs; its one page sends a plain task with its commit.

Started by `system.web(wsgi="reliable.testing.site")`.
"""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from reliable.testing.tasks import nap


def send(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        nap.delay("sent by a page")
    return HttpResponse("sent")


urlpatterns = [path("", send)]
application = get_wsgi_application()
# Of this process, which is no other's: gunicorn imports the module.
settings.ROOT_URLCONF = __name__
