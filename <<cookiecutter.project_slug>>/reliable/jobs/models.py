"""The tables. What changes them on the hot path stands in sql.py, with the index that serves it."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from reliable.jobs.states import FINISHED, UNFINISHED, Outcome, State


class Job(models.Model):
    """One call of a durable task, from its commit until it is purged."""

    # Made by the caller (UUIDv7, so that new rows stand together in the index).
    id = models.UUIDField(primary_key=True)
    task = models.TextField()
    queue = models.TextField()
    args = models.JSONField(db_default=[])
    kwargs = models.JSONField(db_default={})
    state = models.TextField(choices=State, db_default=State.WAITING)
    # 0 to 9; 9 is published first.
    priority = models.SmallIntegerField(db_default=5)
    # A future one is the schedule; a retry's backoff stands here too.
    run_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)

    # A message should be in the broker since then; how often one was sent since the last claim.
    published_at = models.DateTimeField(null=True)
    offers = models.SmallIntegerField(db_default=0)

    # The fence: raised by each claim, never lowered. Who holds an older one writes nothing.
    claim_no = models.IntegerField(db_default=0)
    # What counts against max_attempts: exceptions, crashes, time limits.
    attempt = models.SmallIntegerField(db_default=0)
    max_attempts = models.SmallIntegerField(db_default=5)
    # Seconds; doubled with each attempt, then drawn from zero to that.
    backoff = models.FloatField(db_default=5)
    # Seconds.
    time_limit = models.IntegerField(db_default=60)
    # Body and completion are one transaction.
    atomic = models.BooleanField(db_default=True)

    # While it runs: the process start that holds it, and its database session.
    worker = models.UUIDField(null=True)
    backend = models.IntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Which of its queue's places it holds while it runs, if the queue has a limit; from 1 on.
    slot = models.SmallIntegerField(null=True)
    # Its worker died with others in it. A worker runs one suspect at a time, so that the next death
    # is charged to the right one.
    suspect = models.BooleanField(db_default=False)
    # Its claim is one of a batch's, whose transaction it shares.
    batched = models.BooleanField(db_default=False)
    # It was in a batch that did not commit: it runs alone until it ends, so that what it does then
    # is its own doing.
    solo = models.BooleanField(db_default=False)
    # Given back by releases that cannot run it: how often, and since when.
    misfits = models.SmallIntegerField(db_default=0)
    misfit_since = models.DateTimeField(null=True)

    result = models.JSONField(null=True)
    error = models.TextField(db_default="")
    # Of the last attempt that did not succeed, for groups of failed jobs: the exception's class or
    # how it ended, and the function of the project that raised it.
    exception = models.TextField(db_default="")
    place = models.TextField(db_default="")
    progress = models.JSONField(null=True)
    checkpoint = models.JSONField(null=True)

    # What travels with it: request id, trace, tenant, language.
    headers = models.JSONField(db_default={})
    tags = ArrayField(models.TextField(), db_default=[])
    release_enqueued = models.TextField(db_default="")
    release_ran = models.TextField(db_default="")
    parent_id = models.UUIDField(null=True)
    workflow_id = models.UUIDField(null=True)
    concurrency_key = models.TextField(null=True)  # noqa: DJ001 - absent is not empty
    # Cleared by the claim, or by the end if `unique_running`; so it never collides on a retry.
    unique_key = models.TextField(null=True)  # noqa: DJ001
    unique_running = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "reliable_job"
        # Jobs are made by calls and changed by operations, never by hand.
        default_permissions = ("view",)
        permissions = (("operate_job", "Can retry, discard and cancel jobs"),)
        indexes = (
            # sql.PUBLISH
            models.Index(
                "queue",
                "priority",
                "run_at",
                "id",
                name="reliable_job_due",
                condition=Q(state=State.WAITING, published_at__isnull=True),
            ),
            # sql.OFFER_AGAIN
            models.Index(
                "queue",
                "published_at",
                name="reliable_job_published",
                condition=Q(state=State.WAITING, published_at__isnull=False),
            ),
            # sql.BEAT, sql.RUNNING
            models.Index("worker", name="reliable_job_running", condition=Q(state=State.RUNNING)),
            # sql.EXPIRE
            models.Index(
                "expires_at",
                name="reliable_job_expires",
                condition=Q(state=State.WAITING, expires_at__isnull=False),
            ),
            # sql.PURGE, and the lists of what ended
            models.Index(
                "state",
                "finished_at",
                name="reliable_job_finished",
                condition=Q(state__in=FINISHED),
            ),
            # sql_counts.FAILED_GROUPS; only a failure pays for it
            models.Index(
                *("task", "exception", "place", "finished_at"),
                name="reliable_job_failed",
                condition=Q(state=State.FAILED),
            ),
            # sql_counts.QUEUES
            models.Index(
                "queue",
                "finished_at",
                name="reliable_job_queue_failed",
                condition=Q(state=State.FAILED),
            ),
            models.Index(
                "parent_id", name="reliable_job_parent", condition=Q(parent_id__isnull=False)
            ),
        )
        constraints = (
            models.UniqueConstraint(
                "task",
                "unique_key",
                name="reliable_job_unique",
                condition=Q(unique_key__isnull=False),
            ),
            # The limit of a queue, over all hosts. It is in no index of a queue without one.
            models.UniqueConstraint(
                "queue",
                "slot",
                name="reliable_job_slot",
                condition=Q(state=State.RUNNING, slot__isnull=False),
            ),
            # Two children of a worker that claim at the same moment do not see each other.
            models.UniqueConstraint(
                "worker",
                name="reliable_job_one_suspect",
                condition=Q(state=State.RUNNING, suspect=True),
            ),
            # PostgreSQL reads each of these at each update, word by word: few, and short.
            models.CheckConstraint(
                condition=Q(state=State.RUNNING, worker__isnull=False, deadline_at__isnull=False)
                | (~Q(state=State.RUNNING) & Q(worker__isnull=True, deadline_at__isnull=True)),
                name="reliable_job_holder",
            ),
            models.CheckConstraint(
                condition=Q(state__in=UNFINISHED, finished_at__isnull=True)
                | Q(state__in=FINISHED, finished_at__isnull=False, unique_key__isnull=True),
                name="reliable_job_end",
            ),
            models.CheckConstraint(
                condition=(Q(state=State.WAITING) | Q(published_at__isnull=True))
                & (Q(state=State.SUCCEEDED) | Q(result__isnull=True)),
                name="reliable_job_published_or_result",
            ),
            models.CheckConstraint(
                condition=Q(
                    attempt__range=(0, F("max_attempts")),
                    claim_no__gte=F("attempt"),
                    priority__range=(0, 9),
                ),
                name="reliable_job_counts",
            ),
        )

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class Attempt(models.Model):
    """An attempt that did not succeed. One that did leaves no row: the job says all of it."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="attempts")
    claim_no = models.IntegerField()
    outcome = models.TextField(choices=Outcome)
    counted = models.BooleanField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(db_default=Now())
    worker = models.UUIDField(null=True)
    release = models.TextField(db_default="")
    error = models.TextField(db_default="")
    traceback = models.TextField(db_default="")

    class Meta:
        db_table = "reliable_attempt"
        # tally.TALLY
        indexes = (models.Index("ended_at", name="reliable_attempt_ended"),)

    def __str__(self) -> str:
        return f"{self.outcome} {self.ended_at}"


class Queue(models.Model):
    """What an operator said about a queue; one without a row just runs."""

    name = models.TextField(primary_key=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.TextField(db_default="")
    paused_why = models.TextField(db_default="")
    paused_until = models.DateTimeField(null=True)
    # Running jobs over all hosts.
    limit = models.IntegerField(null=True)

    class Meta:
        db_table = "reliable_queue"
        default_permissions = ("view",)
        permissions = (("operate_queue", "Can pause, resume and limit queues"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(paused_at__isnull=False) | Q(paused_until__isnull=True, paused_by=""),
                name="reliable_queue_paused_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(limit__isnull=True) | Q(limit__gte=1), name="reliable_queue_limit"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Change(models.Model):
    """A change of many jobs that an operator began in the admin: who, what, and how far it got.

    It is done in batches, each committed together with this row, by the requests of whoever looks
    at its page: an operator needs it most when no worker runs. A closed browser stops it after a
    batch, and it goes on from there.
    """

    operation = models.TextField()
    # See selection.Selection.
    selection = models.JSONField()
    by = models.TextField()
    reason = models.TextField()
    # None if they were too many to count in time.
    matched = models.IntegerField(null=True)
    seen = models.IntegerField(db_default=0)
    changed = models.IntegerField(db_default=0)
    # The last job that was looked at.
    after = models.UUIDField(null=True)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    stopped = models.BooleanField(db_default=False)

    class Meta:
        db_table = "reliable_change"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.operation} by {self.by}"


class Schedule(models.Model):
    """A periodic entry: up to when its ticks are done. A tick is this row's UPDATE and the job's
    INSERT in one transaction, so that it happens once however many beats there are.
    """

    name = models.TextField(primary_key=True)
    # Of the declaration in force. Another one starts the entry anew.
    timing = models.TextField(db_default="")
    # No tick up to this moment is to come any more: it is the last one's time, or when the entry
    # began, was changed or was resumed.
    last_due = models.DateTimeField(db_default=Now())
    # The last tick that was taken: for when it was due, when that was, and a durable task's job.
    last_tick = models.DateTimeField(null=True)
    ticked_at = models.DateTimeField(null=True)
    last_job = models.UUIDField(null=True)
    # Ticks that no beat took in time, caught up or not, and when that was seen last.
    missed = models.BigIntegerField(db_default=0)
    missed_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.TextField(db_default="")
    # It stands in no declaration in force since then. Kept for a rollback, with its pause.
    removed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "reliable_schedule"
        default_permissions = ("view",)
        permissions = (("operate_schedule", "Can pause, resume and run entries of the schedule"),)
        verbose_name = "entry of the schedule"
        verbose_name_plural = "schedule"

    def __str__(self) -> str:
        return self.name


class Beat(models.Model):
    """One start of a beat. The schedule in force is that of the living one with the highest id."""

    id = models.BigAutoField(primary_key=True)
    host = models.TextField()
    release = models.TextField(db_default="")
    # The fingerprint of its declaration.
    schedule = models.TextField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "reliable_beat"
        default_permissions = ()

    def __str__(self) -> str:
        return f"beat {self.id} on {self.host}"


class Worker(models.Model):
    """One start of a worker process. It is alive while `beat` moves."""

    # New at each start: a restarted namesake must not keep what its dead predecessor held.
    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    release = models.TextField(db_default="")
    queues = ArrayField(models.TextField())
    slots = models.IntegerField()
    beat = models.BigIntegerField(db_default=0)
    started_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "reliable_worker"

    def __str__(self) -> str:
        return self.name


class Tally(models.Model):
    """How many ran in an hour; of `waited` and `ran` those whose seconds fall into a bucket."""

    pk = models.CompositePrimaryKey("hour", "queue", "task", "kind", "bucket")
    hour = models.DateTimeField()
    queue = models.TextField()
    task = models.TextField()
    # waited, ran, failed, dead, put off.
    kind = models.TextField()
    bucket = models.SmallIntegerField()
    count = models.BigIntegerField()

    class Meta:
        db_table = "reliable_tally"

    def __str__(self) -> str:
        return f"{self.hour} {self.task} {self.kind}"


class TallyMark(models.Model):
    """Up to when all that has ended is tallied: one row."""

    until = models.DateTimeField()

    class Meta:
        db_table = "reliable_tally_mark"
        constraints = (models.CheckConstraint(condition=Q(id=1), name="reliable_tally_mark_one"),)

    def __str__(self) -> str:
        return str(self.until)


class Relay(models.Model):
    """A relay process, from its start until it leaves; it says regularly that it publishes."""

    # `host:pid`
    name = models.TextField(primary_key=True)
    host = models.TextField()
    pid = models.IntegerField()
    release = models.TextField(db_default="")
    # Messages since its start.
    published = models.BigIntegerField(db_default=0)
    seen_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "reliable_relay"

    def __str__(self) -> str:
        return self.name
