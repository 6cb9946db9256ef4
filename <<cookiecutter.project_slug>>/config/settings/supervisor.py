"""What `manage.py supervisor` needs to know of this project.

Reference: https://supervisord.org/configuration.html
"""

from config.settings.env import BASE_DIR, env
from reliable.development.paths import DEVELOPMENT
from reliable.supervisor.programs import SupervisorSettings

SUPERVISOR = SupervisorSettings(
    directory=BASE_DIR,
    wsgi="config.wsgi",
    web_config="config.gunicorn",
    celery_app="config",
    # Sockets. Not below /run, which is empty after a reboot.
    run_dir=env.path("RUN_DIR", default=DEVELOPMENT.sockets),
    log_dir=env.path("LOG_DIR", default=DEVELOPMENT.logs),
)

# The file that a deploy placed, for the checks; without it they say "not checked".
SUPERVISOR_FILE = env.path("SUPERVISOR_FILE", default=None)
