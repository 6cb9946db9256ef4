"""The rules, and what is found against them. An E loses tasks; a W repeats or delays them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.core import checks

_CELERY = "https://docs.celeryq.dev/en/stable/"
_SETTING = _CELERY + "userguide/configuration.html#"
_SUPERVISOR = "https://supervisord.org/configuration.html#program-x-section-settings"
_REDIS = _CELERY + "getting-started/backends-and-brokers/redis.html#"


@dataclass(frozen=True)
class Rule:
    """What goes wrong (with the figure that was measured), how to cure it, where to read more."""

    consequence: str
    cure: str
    link: str


@dataclass(frozen=True)
class Finding:
    """A rule that is broken at a place: a setting, a task, a queue, or `file:line`."""

    id: str
    place: str
    what: str

    @property
    def severity(self) -> str:
        """`E` or `W`, as the rule's id says."""
        return self.id.removeprefix("reliable.")[0]

    def message(self) -> checks.CheckMessage:
        rule = RULES[self.id]
        kind = checks.Error if self.severity == "E" else checks.Warning
        return kind(
            f"{self.what} {rule.consequence}",
            hint=f"{rule.cure} {rule.link}",
            obj=self.place,
            id=self.id,
        )


RULES = {
    "reliable.E002": Rule(
        "Celery ignores it: what it was meant to prevent happens.",
        "Use the name from Celery's list.",
        _CELERY + "userguide/configuration.html",
    ),
    "reliable.E003": Rule(
        "A killed worker loses each task that it runs: 4 of 4, in 5 of 5 kills.",
        "Set task_acks_late to True, and let tasks bear to run twice.",
        _SETTING + "task-acks-late",
    ),
    "reliable.E004": Rule(
        "A worker runs whatever code somebody can put into the broker.",
        "Accept and send JSON alone.",
        _SETTING + "accept-content",
    ),
    "reliable.E005": Rule(
        "While it is down, delay() raises after 19.6 s and nothing is sent; frozen, it hangs.",
        "Set task_ignore_result, and keep results in the database.",
        _SETTING + "task-ignore-result",
    ),
    "reliable.E006": Rule(
        "Tasks run inside their caller: no queue, no second process, no limit.",
        "Leave task_always_eager to tests.",
        _SETTING + "task-always-eager",
    ),
    "reliable.E007": Rule(
        "Its worker exits when Redis goes away while it holds a message: 24 of 24 trials.",
        "Install celery==5.6.3.",
        "https://github.com/celery/celery/pull/10242",
    ),
    "reliable.E008": Rule(
        "A full cache evicts the queues: 1,000 of 1,100 messages lost, and no error anywhere.",
        "Give the cache an instance of its own.",
        _REDIS + "key-eviction",
    ),
    "reliable.E010": Rule(
        "The worker looks for a row that is not there yet (100 of 100 tasks, sent 50 ms before the"
        " commit), or for one that was rolled back (100 of 100).",
        "Make reliable.tasks.Task the application's task class, or use delay_on_commit().",
        _CELERY + "django/first-steps-with-django.html",
    ),
    "reliable.E011": Rule(
        "It cannot be sent as JSON; pickled, it is the row as it was, not as it is.",
        "Pass the primary key.",
        _CELERY + "userguide/tasks.html#database-transactions",
    ),
    "reliable.E012": Rule(
        "In 6 of 8 fault cases the body of a chord never ran.",
        "Keep the state in rows: the last one done starts what follows.",
        "https://github.com/celery/celery/issues/4207",
    ),
    "reliable.E020": Rule(
        "With a wait of 10 s each stop killed running tasks: 2 of 2 lost, 11 messages stuck.",
        "Set stopwaitsecs above the queue's hard limit.",
        _SUPERVISOR,
    ),
    "reliable.E021": Rule(
        "TERM then reaches the pool's children: what they run is lost, or starts again.",
        "Set stopasgroup=false and killasgroup=true.",
        _SUPERVISOR,
    ),
    "reliable.E022": Rule(
        "What is sent there never runs.",
        "Give the queue a worker program: `manage.py supervisor` prints them all.",
        _CELERY + "userguide/routing.html",
    ),
    "reliable.E030": Rule(
        "Full, it evicts the queues: 1,000 of 1,100 messages lost with allkeys-lru, and no error.",
        "Set maxmemory-policy to noeviction on the broker's own instance.",
        "https://redis.io/docs/latest/develop/reference/eviction/",
    ),
    "reliable.E031": Rule(
        "When it is killed, every message is lost: 2982, 3139 and 4337 in three trials.",
        "Set appendonly yes.",
        "https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
    "reliable.E032": Rule(
        "What is sent there waits until one does, and nobody is told.",
        "Start a worker for it.",
        _CELERY + "userguide/workers.html",
    ),
    "reliable.E033": Rule(
        "When the host fails, what its kernel had not yet written is lost, by Linux' default up to"
        " 30 s; with everysec, which writes each second, 109, 50 and 418 messages were.",
        "Set appendfsync to everysec, or to always.",
        "https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
    "reliable.W101": Rule(
        "Redis gives a running task to a second worker: 10 s against 35 s made 12 runs of 3 tasks.",
        "Set visibility_timeout above the longest time limit and delay, the same in each process.",
        _REDIS + "visibility-timeout",
    ),
    "reliable.W102": Rule(
        "A call that hangs occupies a worker's process for ever.",
        "Set task_time_limit, or time_limit at the task.",
        _SETTING + "task-time-limit",
    ),
    "reliable.W103": Rule(
        "It ignores time limits: with time_limit=2 a task of 6 s ran to its end.",
        "Use the prefork pool.",
        _CELERY + "userguide/workers.html#time-limits",
    ),
    "reliable.W104": Rule(
        "A killed worker holds back 16 messages instead of 4, and a short task waits behind a long"
        " one (29 s instead of 0.02 s).",
        "Set worker_prefetch_multiplier to 1.",
        _SETTING + "worker-prefetch-multiplier",
    ),
    "reliable.W105": Rule(
        "A task that kills its process runs for ever: 32 times in 60 s.",
        "Leave task_reject_on_worker_lost off, or count the attempts in the database.",
        "https://github.com/celery/celery/issues/9082",
    ),
    "reliable.W106": Rule(
        "Its retries all come back at the same moment, to a service that just recovered.",
        "Leave retry_jitter on.",
        _CELERY + "userguide/tasks.html#Task.retry_jitter",
    ),
    "reliable.W107": Rule(
        "It is tried again for ever, and nobody learns that it cannot succeed.",
        "Set max_retries.",
        _CELERY + "userguide/tasks.html#Task.max_retries",
    ),
    "reliable.W108": Rule(
        "A delay beyond the visibility timeout is delivered again and again: 15 runs of 3 tasks.",
        "Keep the time in a row, and send the task when it has come.",
        _REDIS + "visibility-timeout",
    ),
    "reliable.W109": Rule(
        "A publish to a frozen broker hangs for ever, and with it the request.",
        "Set socket_timeout and socket_connect_timeout in broker_transport_options to 2 seconds.",
        _SETTING + "broker-transport-options",
    ),
    "reliable.W110": Rule(
        "What it says is not silenced, or nobody will know why it was.",
        "Write the id of a rule, or id:place, and a reason.",
        _CELERY,
    ),
    "reliable.W111": Rule(
        "TERM does not use the soft shutdown: with 5 s a stop took 20 s, as long as its tasks.",
        "Set REMAP_SIGTERM=SIGQUIT in the workers' environment.",
        _CELERY + "userguide/workers.html#soft-shutdown",
    ),
    "reliable.W120": Rule(
        "Its limits and its promise stand nowhere.",
        "Declare the queue, or let no worker read it.",
        _CELERY + "userguide/routing.html",
    ),
    "reliable.W130": Rule(
        "What it would tell was not looked at.",
        "Start it, or correct where it is looked for.",
        _SETTING + "broker-url",
    ),
    "reliable.W131": Rule(
        "Nothing here was tested with it.",
        "Update it.",
        "https://endoflife.date",
    ),
    "reliable.W132": Rule(
        "Delays, schedules and expiry count from different clocks.",
        "Let each host follow a time server.",
        "https://chrony-project.org",
    ),
}


def silenced(
    findings: Iterable[Finding], reasons: Mapping[str, str]
) -> tuple[list[Finding], list[Finding]]:
    """Part the findings into those that stand and those that `reasons` silences.

    Its keys are `id` or `id:place`. An unknown id or an empty reason is a finding itself.
    """
    wrong = [
        Finding("reliable.W110", key, f"RELIABLE_SILENCED[{key!r}] has no rule or no reason.")
        for key, reason in reasons.items()
        if key.partition(":")[0] not in RULES or not reason.strip()
    ]
    bad = {finding.place for finding in wrong}
    stand: list[Finding] = [*wrong]
    silent: list[Finding] = []
    for finding in findings:
        keys = {finding.id, f"{finding.id}:{finding.place}"} & set(reasons) - bad
        (silent if keys else stand).append(finding)
    return stand, silent
