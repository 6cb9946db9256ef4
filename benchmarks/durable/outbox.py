"""The application whose tasks django-celery-outbox sends, on the project's broker and queues."""

from django_celery_outbox.app import OutboxCelery

# Not the current one: `shared_task` would go through the outbox everywhere.
app = OutboxCelery("outbox", set_as_current=False)
app.config_from_object("django.conf:settings", namespace="CELERY")
