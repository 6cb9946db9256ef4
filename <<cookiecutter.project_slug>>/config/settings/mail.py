"""E-mail: to the console in development, to EMAIL_URL elsewhere.

Reference: https://docs.djangoproject.com/en/5.2/topics/email/
"""

from django.core.exceptions import ImproperlyConfigured

from config.settings.env import env, only_in_development

# Required in production: a default that drops mail silently loses it.
_email = env.dj_email_url("EMAIL_URL", **only_in_development("console://"))
if "EMAIL_BACKEND" not in _email:
    raise ImproperlyConfigured(
        "EMAIL_URL has an unknown scheme; write for example"
        " EMAIL_URL=submission://user:password@mail.example.com:587, or EMAIL_URL=console://."
    )

EMAIL_BACKEND = _email["EMAIL_BACKEND"]
EMAIL_HOST = _email["EMAIL_HOST"]
EMAIL_PORT = _email["EMAIL_PORT"]
EMAIL_HOST_USER = _email["EMAIL_HOST_USER"]
EMAIL_HOST_PASSWORD = _email["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS = _email["EMAIL_USE_TLS"]
EMAIL_USE_SSL = _email["EMAIL_USE_SSL"]
# Seconds. Without it a mail server that does not answer holds a task until its hard limit.
EMAIL_TIMEOUT = 10

DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="webmaster@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
