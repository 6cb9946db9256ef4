"""gunicorn's settings; its sockets come from the supervisor file.

Reference: https://docs.gunicorn.org/en/stable/settings.html
"""

import os

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Without it gunicorn's own lines are text between the JSON of the others.
logconfig_dict = settings.LOGGING

# Threads, so that one slow client or query does not occupy a whole process.
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Fewer than the broker connections of a process (10), for which a thread would wait.
threads = 8

# The code is loaded once, before they fork: they share its memory, and start in half the time.
preload_app = True

# Seconds after which a silent worker is replaced, and that requests get to finish at a stop.
timeout = 30
graceful_timeout = 30

# Two generations would fight for the one default path of the control socket.
control_socket_disable = True

# A disk write that blocks would look like a hung worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108
