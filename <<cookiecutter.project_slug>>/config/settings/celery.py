"""Celery: each setting with what goes wrong without it. The figures: docs/celery-settings.md.

Reference: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

from config.settings.cache import CACHE_URL
from config.settings.core import TIME_ZONE
from config.settings.env import DEBUG, env, only_in_development
from config.settings.queues import QUEUES
from reliable.development.paths import DEVELOPMENT
from reliable.queues import DEFAULT_QUEUE, celery_routes, read_by_workers
from reliable.redis import check_url, same_instance

CELERY_BROKER_URL = check_url(
    "BROKER_URL", env.str("BROKER_URL", **only_in_development(DEVELOPMENT.broker_url))
)

# Eviction policy, persistence and memory belong to a Redis instance, not to its database numbers:
# a cache that fills an instance with allkeys-lru evicts the queues (1,000 of 1,100 messages lost).
if not DEBUG and same_instance(CELERY_BROKER_URL, CACHE_URL):
    raise ImproperlyConfigured(
        "BROKER_URL and CACHE_URL name one Redis instance: a full cache would evict the queues."
        " Run a second one for the cache, for example CACHE_URL=redis://127.0.0.1:6380/0."
    )

# --- Queues, from config/queues.yml -------------------------------------------------------------

# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-queues
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name) for name in read_by_workers(QUEUES)
]
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-routes
CELERY_TASK_ROUTES = celery_routes(QUEUES)
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-default-queue
CELERY_TASK_DEFAULT_QUEUE = DEFAULT_QUEUE
# Without it a misspelt queue is created, filled, and never read.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-create-missing-queues
CELERY_TASK_CREATE_MISSING_QUEUES = False

# --- A task that starts must end ----------------------------------------------------------------

# Each worker gets its queue's limits from the supervisor file; these two bind a worker that was
# started by hand. Without a limit one hanging call occupies a process for ever.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-time-limit
CELERY_TASK_TIME_LIMIT = QUEUES[DEFAULT_QUEUE]["time_limit"]
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-soft-time-limit
CELERY_TASK_SOFT_TIME_LIMIT = QUEUES[DEFAULT_QUEUE]["soft_time_limit"]

# --- A task that did not finish comes back -------------------------------------------------------

# Without it a killed worker loses what it runs: 4 of 4 tasks in 5 of 5 kills, 0 with it.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-acks-late
CELERY_TASK_ACKS_LATE = True
# True makes a task that kills its process loop for ever (32 runs in 60 s). So a killed child loses
# its one task, logged as WorkerLostError; what a customer would miss is no plain task.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-reject-on-worker-lost
CELERY_TASK_REJECT_ON_WORKER_LOST = False
# With the default of 4 a killed worker holds 16 messages back instead of 4, and a short task waits
# behind a long one (29 s instead of 0.02 s).
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-prefetch-multiplier
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Without it a worker takes a message for a process that is busy, and holds it back from others that
# are not: the one short task behind a long one. A durable task is acknowledged before it runs, so
# that prefetch_multiplier does not count it.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-disable-prefetch
CELERY_WORKER_DISABLE_PREFETCH = True
# True cancels the running tasks when Redis restarts, and their messages return an hour later.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-cancel-long-running-tasks-on-connection-loss
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False

# https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Seconds after which an unacknowledged message is given to another worker. Below the longest
    # task, that task runs again and again (10 s against 35 s: 12 runs of 3 tasks). The same in each
    # process on the instance: the shortest wins for every queue.
    "visibility_timeout": env.int(
        "VISIBILITY_TIMEOUT",
        default=max(3600, *(queue["time_limit"] + 300 for queue in QUEUES.values())),
    ),
    # Look for them each 10 s x 1. With the default throttle of 10 a message is up to 100 s late.
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # Seconds. Without them a publish to a frozen broker hangs for ever.
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    # Without it a worker does not notice a broker host that vanished.
    "socket_keepalive": True,
    "health_check_interval": 25,
    # How often a publisher tries to connect before it raises: once. A web request waits for it.
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}

# --- Connections ---------------------------------------------------------------------------------

# Without it a worker that starts before its broker exits.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#broker-connection-retry-on-startup
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Without it a worker gives up after 100 tries, within an hour without Redis.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#broker-connection-max-retries
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# With True a publish is tried three times more, and the request waits for each.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-publish-retry
CELERY_TASK_PUBLISH_RETRY = False

# --- Results -------------------------------------------------------------------------------------

# Results belong in the database, with the data. With a Redis result backend that is down,
# `.delay()` raises after 19.6 s and the message is not sent.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-ignore-result
CELERY_TASK_IGNORE_RESULT = True

# --- Serialization: JSON alone -------------------------------------------------------------------

# A worker that accepts pickle runs any code that somebody can put into Redis.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#accept-content
CELERY_ACCEPT_CONTENT = ["json"]
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-serializer
CELERY_TASK_SERIALIZER = "json"
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-serializer
CELERY_RESULT_SERIALIZER = "json"

# --- Processes -----------------------------------------------------------------------------------

# Without them a leak grows until the kernel kills a process of its own choice. A child is replaced
# between two tasks (0 lost, 0 doubled); memory is in KiB.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-max-tasks-per-child
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-max-memory-per-child
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 400_000
# Without it Celery replaces the handlers of LOGGING by its own.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-hijack-root-logger
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# With True `print` becomes a WARNING line, and `breakpoint()` gets no terminal.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-redirect-stdouts
CELERY_WORKER_REDIRECT_STDOUTS = False

# --- Schedule ------------------------------------------------------------------------------------

# Celery's own keeps its ticks in a file of one host: a second beat repeats each tick (44 of 22),
# and one that is down misses them (8 of 22).
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#beat-scheduler
CELERY_BEAT_SCHEDULER = "reliable.jobs.schedule.beat:Scheduler"
# Without it times in Celery's own log lines and etas are read in UTC.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#timezone
CELERY_TIMEZONE = TIME_ZONE
