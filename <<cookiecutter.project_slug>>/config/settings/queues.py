"""The queues, parsed once: every other part reads QUEUES, never the file."""

from config.settings.env import BASE_DIR, env
from reliable import queues

QUEUES = queues.load(BASE_DIR / "config" / "queues.yml")

# Without it finished jobs stay for 7 days (succeeded) to 90 (failed): reliable/jobs/retention.py.
RELIABLE_JOBS_KEPT = env.json("JOBS_KEPT", default={})
