"""What every template may use."""

from django.conf import settings
from django.http import HttpRequest


def project(request: HttpRequest) -> dict[str, str]:
    """`project_title`: what people call this project."""
    return {"project_title": settings.PROJECT_TITLE}
