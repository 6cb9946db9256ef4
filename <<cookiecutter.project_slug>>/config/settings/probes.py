"""Probes: tasks that travel the real road. What a queue promises stands in config/queues.yml.

Reference: reliable/probes/README.md
"""

from config.settings.env import BASE_DIR, env

# Seconds between two probes of each queue and worker.
RELIABLE_PROBES = {"interval": env.int("PROBE_INTERVAL", default=15)}

# Who may ask /health/queues and /metrics: whoever sends this token, and internal networks.
RELIABLE_HEALTH = {"token": env.str("HEALTH_TOKEN", default="")}

# Who is told of a queue that does not move; without any, only logs and /health/queues say it. An
# address that Python cannot use is refused at the start.
RELIABLE_ALARMS = {
    "ping": env.str("HEALTHCHECKS_PING_URL", default=""),
    "webhook": env.str("ALARM_WEBHOOK_URL", default=""),
    "mail": env.list("ALARM_EMAILS", default=[]),
    "runbooks": env.str("RUNBOOKS_URL", default=""),
}

# The pages that an alarm names; config/urls.py shows them in the admin.
RELIABLE_RUNBOOKS = BASE_DIR / "docs" / "runbooks"
