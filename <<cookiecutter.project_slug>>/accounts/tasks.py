from celery import shared_task
from django.core.management import call_command


@shared_task
def clear_expired_sessions() -> None:
    """Delete expired sessions; Django never does it by itself, and the table only grows."""
    call_command("clearsessions")
