"""What is watched, what it answered, and when it changed. The statements stand in sql.py."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from reliable.probes.states import Hop, Kind, State


class Target(models.Model):
    """Whatever has a state: beat, each relay, each list of the broker, each worker."""

    kind = models.TextField(choices=Kind)
    # A list in the broker (`mail`, `mail.jobs`), a worker's node name, a relay's, or `beat`.
    name = models.TextField()

    # As it was judged last, since when, and a sentence for people.
    state = models.TextField(choices=State, db_default=State.UNKNOWN)
    state_since = models.DateTimeField(db_default=Now())
    hop = models.TextField(choices=Hop, db_default="")
    why = models.TextField(db_default="")

    # The last state that somebody was told, and since when: what alarms/ goes by.
    told = models.TextField(choices=State, db_default=State.OK)
    told_since = models.DateTimeField(db_default=Now())

    # The last sign of life of its own: beat's tick, a worker's or relay's report.
    seen_at = models.DateTimeField(null=True)
    # The three times of a probe: the tick stands in `seen_at` of beat, its end in `returned_at`.
    sent_at = models.DateTimeField(null=True)
    returned_at = models.DateTimeField(null=True)
    # When the first was sent that has not returned, though it may have got lost and been repeated.
    asked_at = models.DateTimeField(null=True)
    # The one that is outstanding.
    token = models.UUIDField(null=True)
    # Seconds from the last one's sending to its return.
    latency = models.FloatField(null=True)
    # Why the last one could not be sent, and since when none can.
    error = models.TextField(db_default="")
    error_at = models.DateTimeField(null=True)
    # Messages that wait in the list, when beat looked last; None when it could not look.
    waiting = models.IntegerField(null=True)

    # Since the row was made. `expired` were seen too late to be run; `lost` never came back.
    sent = models.BigIntegerField(db_default=0)
    returned = models.BigIntegerField(db_default=0)
    expired = models.BigIntegerField(db_default=0)
    lost = models.BigIntegerField(db_default=0)
    # How many were lost since one returned.
    lost_in_row = models.IntegerField(db_default=0)
    # A histogram of the latencies: a count for each bound of options.BUCKETS, one for the rest.
    buckets = ArrayField(models.BigIntegerField(), db_default=[])
    latency_sum = models.FloatField(db_default=0)

    # Who answered last: the worker's node name, its child, its release.
    worker = models.TextField(db_default="")
    pid = models.IntegerField(null=True)
    release = models.TextField(db_default="")

    # What a worker says of itself: see reporter.Report.
    report = models.JSONField(db_default={})
    created_at = models.DateTimeField(db_default=Now())
    # It has left, and is not watched any more.
    retired_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "reliable_probe_target"
        # As the admin's index calls the page.
        verbose_name_plural = "operations"
        default_permissions = ("view",)
        permissions = (("operate_target", "Can probe and pause queues, retry and discard tasks"),)
        constraints = (models.UniqueConstraint("kind", "name", name="reliable_probe_target_name"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Sample(models.Model):
    """One latency of a queue's list, for a day's curve."""

    target = models.ForeignKey(Target, models.CASCADE, related_name="samples")
    at = models.DateTimeField(db_default=Now())
    latency = models.FloatField()

    class Meta:
        db_table = "reliable_probe_sample"
        indexes = (models.Index("at", name="reliable_probe_sample_at"),)

    def __str__(self) -> str:
        return f"{self.latency:.3f} s"


class Transition(models.Model):
    """A target's change from one state to another."""

    target = models.ForeignKey(Target, models.CASCADE, related_name="transitions")
    at = models.DateTimeField(db_default=Now())
    before = models.TextField(choices=State)
    after = models.TextField(choices=State)
    hop = models.TextField(choices=Hop, db_default="")
    why = models.TextField(db_default="")
    # Seconds that the state before has lasted.
    lasted = models.FloatField(db_default=0)
    # Whether somebody is to be told.
    alarm = models.BooleanField(db_default=False)

    class Meta:
        db_table = "reliable_probe_transition"
        indexes = (models.Index("at", name="reliable_probe_transition_at"),)

    def __str__(self) -> str:
        return f"{self.before} to {self.after}"


class Watch(models.Model):
    """When states were judged last, and since when somebody has done so without a gap.

    Ages count from `since` at most: while the database was away nobody could tick, report or
    answer, and nobody is to blame for it.
    """

    id = models.SmallIntegerField(primary_key=True, db_default=1)
    judged_at = models.DateTimeField(db_default=Now())
    since = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "reliable_probe_watch"
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="reliable_probe_watch_one_row"),
        )

    def __str__(self) -> str:
        return f"judged at {self.judged_at}"


class Mute(models.Model):
    """Until when nobody is told: one row, or none."""

    id = models.SmallIntegerField(primary_key=True, db_default=1)
    until = models.DateTimeField()
    by = models.TextField(db_default="")
    why = models.TextField(db_default="")

    class Meta:
        db_table = "reliable_probe_mute"
        default_permissions = ()
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="reliable_probe_mute_one_row"),
        )

    def __str__(self) -> str:
        return f"muted until {self.until}"


class Ping(models.Model):
    """When the dead man's switch was pinged last, by whichever process, and what it heard."""

    id = models.SmallIntegerField(primary_key=True, db_default=1)
    at = models.DateTimeField(db_default=Now())
    failing = models.BooleanField(db_default=False)

    class Meta:
        db_table = "reliable_probe_ping"
        default_permissions = ()
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="reliable_probe_ping_one_row"),
        )

    def __str__(self) -> str:
        return f"pinged at {self.at}"
