"""E-mail, sent here and now: an alarm about a queue must not wait in one."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string

from reliable.probes.alarms.message import Alarm, subject
from reliable.probes.alarms.options import Outlets

_DJANGO = "django.core.mail.backends."


def send(whom: Outlets, alarms: list[Alarm]) -> None:
    # A backend that is not Django's own may send through a task.
    backend = settings.EMAIL_BACKEND
    if not backend.startswith(_DJANGO):
        backend = f"{_DJANGO}smtp.EmailBackend"
    message = EmailMessage(
        subject=f"{settings.EMAIL_SUBJECT_PREFIX}{subject(alarms)}",
        body="\n\n".join(alarm.text(whom.runbooks) for alarm in alarms),
        from_email=settings.SERVER_EMAIL,
        to=whom.addresses,
    )
    import_string(backend)(fail_silently=False).send_messages([message])
