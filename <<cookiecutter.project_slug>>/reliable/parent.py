"""The lines that a worker's parent process writes for a task that its child could not end.

They tell of a process that was killed, or of a hard time limit that has passed, and carry the same
ids as the child's. `reliable.logging.connect` makes Celery use this class:
https://docs.celeryq.dev/en/stable/userguide/tasks.html#requests-and-custom-requests
"""

from typing import Any

from celery.worker import request
from structlog.contextvars import bound_contextvars

from reliable.logging import task_ids


class Request(request.Request):
    """Celery's, which knows of its task what the message says, in all that it logs at the end."""

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        with self._bound():
            super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        with self._bound():
            return super().on_failure(exc_info, *args, **kwargs)

    def _bound(self) -> Any:
        context = self._context  # type: ignore[attr-defined]
        return bound_contextvars(**task_ids(self.task.name, self.id, context))
