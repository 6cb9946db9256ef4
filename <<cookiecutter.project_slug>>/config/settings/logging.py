"""Logs: everything to standard output, where supervisor keeps it; JSON in production.

Reference: https://docs.djangoproject.com/en/5.2/topics/logging/
"""

import logging

from config.settings.core import RELEASE
from config.settings.env import DEBUG, env
from reliable.logging import configuration
from reliable.sentry import report_errors

LOGGING = configuration(
    json=not DEBUG,
    level=env.log_level("LOG_LEVEL", default=logging.INFO),
    release=RELEASE,
)

# An id that is no id is replaced, by the middleware in reliable.logging.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
# An address is personal data, and the proxy's access log has it.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False

if _dsn := env.str("SENTRY_DSN", default=""):
    report_errors(_dsn, release=RELEASE)
