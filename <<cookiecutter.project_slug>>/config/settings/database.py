"""PostgreSQL, which holds what must not be lost. Each timeout ends a wait that could last for ever.

Reference: https://docs.djangoproject.com/en/5.2/ref/databases/#postgresql-notes
and https://www.postgresql.org/docs/current/runtime-config-client.html
"""

from config.settings.core import PROJECT_SLUG
from config.settings.env import env, only_in_development
from config.settings.queues import QUEUES
from reliable.development.paths import DEVELOPMENT

# Without DATABASE_URL development uses the PostgreSQL that `make dev` or `make services` starts.
_default = env.dj_db_url("DATABASE_URL", **only_in_development(DEVELOPMENT.database_url))

# The supervisor file names each process: web, worker-mail, beat. Other commands are `manage`.
_process = env.str("PROCESS", default="manage")

# Milliseconds that a statement, and a transaction left open between statements, may take.
# A request is given up by gunicorn after 30 s, a task is killed at its queue's limit: what runs on
# in the database after that only holds locks. Migrations and shells have no limit.
_queue = QUEUES.get(_process.removeprefix("worker-"))
_limit = 30_000 if _process == "web" else _queue["time_limit"] * 1000 if _queue else 0

_session = {
    "statement_timeout": _limit,
    "idle_in_transaction_session_timeout": _limit,
    # Without it an ALTER TABLE that waits for one query makes every later query wait behind it.
    "lock_timeout": 10_000,
}

_default["OPTIONS"] = {
    # Who holds this lock? `SELECT application_name, query FROM pg_stat_activity` answers.
    "application_name": f"{PROJECT_SLUG}:{_process}"[:63],
    # Without it a connection to a host that vanished hangs for minutes, until the kernel gives up.
    "connect_timeout": 5,
    # Without them a connection that waits for an answer never learns that the other side is gone.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in _session.items()),
    # What DATABASE_URL says in its query wins: `?sslmode=verify-full`, `?host=/run/postgresql`.
    **_default.get("OPTIONS", {}),
}
# Opening a connection for each request costs more than most queries.
# https://docs.djangoproject.com/en/5.2/ref/databases/#persistent-connections
_default["CONN_MAX_AGE"] = 60
# Without it the first request or task after a restart of PostgreSQL fails on a dead connection.
_default["CONN_HEALTH_CHECKS"] = True

# Behind PgBouncer in transaction mode: without it a cursor or a prepared statement is looked for in
# another session than the one that has it. What stands in `options` above is to be set at the role.
# https://docs.djangoproject.com/en/5.2/ref/databases/#transaction-pooling-server-side-cursors
_default["DISABLE_SERVER_SIDE_CURSORS"] = env.bool("DATABASE_POOLED", default=False)

DATABASES = {"default": _default}
