import uuid

from django.db import models


class Effect(models.Model):
    """One thing that happened to one task: `sent`, `begun`, `ended`."""

    task = models.UUIDField(default=uuid.uuid4, db_index=True)
    kind = models.CharField(max_length=40)
    event = models.CharField(max_length=10)
    release = models.CharField(max_length=80)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.task} {self.event} by {self.release}"
