"""The queues, parsed once: every other part reads QUEUES, never the file."""

from config.settings.env import BASE_DIR
from reliable import queues

QUEUES = queues.load(BASE_DIR / "config" / "queues.yml")
