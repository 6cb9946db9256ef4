"""The project's settings, with what other libraries need; our own processes run without it."""

from config.settings import *  # noqa: F403
from config.settings.core import INSTALLED_APPS as _OURS
from config.settings.database import DATABASES as _DATABASES

INSTALLED_APPS = [*_OURS, "django_celery_outbox", "procrastinate.contrib.django", "django_tasks_db"]

CELERY_OUTBOX_APP = "durable.outbox.app"
# It counts each message for a statsd that is not here, and logs that nobody answers.
MONITORING_METRICS_ENABLED = False
PROCRASTINATE_IMPORT_PATHS = ["durable.peer_tasks"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}

# Two backlogs on one server: benchmarks/durable/backlog.py.
DATABASES = {
    **_DATABASES,
    **{name: {**_DATABASES["default"], "NAME": name} for name in ("few", "many")},
}
