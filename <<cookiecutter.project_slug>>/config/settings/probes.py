"""Probes: tasks that travel the real road. What a queue promises stands in config/queues.yml.

Reference: reliable/probes/README.md
"""

from config.settings.env import env

# Seconds between two probes of each queue and worker.
RELIABLE_PROBES = {"interval": env.int("PROBE_INTERVAL", default=15)}

# Who may ask /health/queues: whoever sends this token, and internal networks.
RELIABLE_HEALTH = {"token": env.str("HEALTH_TOKEN", default="")}
