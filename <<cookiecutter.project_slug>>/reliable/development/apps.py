from django.apps import AppConfig


class DevelopmentConfig(AppConfig):
    """Installed where DEBUG is on; adds the commands `dev`, `services` and `fg`."""

    name = "reliable.development"
    label = "reliable_development"
