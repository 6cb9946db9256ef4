"""Logs: everything to standard output, where supervisor keeps it.

Reference: https://docs.djangoproject.com/en/5.2/topics/logging/
"""

import logging

from config.settings.env import env

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
    },
    "root": {"handlers": ["console"], "level": env.log_level("LOG_LEVEL", default=logging.INFO)},
    # Django's own handlers would print an error twice, or e-mail it from inside the request.
    "loggers": {"django": {"handlers": [], "propagate": True}},
}
