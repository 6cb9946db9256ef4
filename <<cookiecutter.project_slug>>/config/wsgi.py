"""The web application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from reliable.startup import refuse_undeclared_routes

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()
refuse_undeclared_routes()
