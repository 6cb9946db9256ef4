"""Jobs, groups of failures, changes, queues and the schedule in Django's admin."""

from reliable.jobs.admin import jobs, queues, schedule

__all__ = ["jobs", "queues", "schedule"]
