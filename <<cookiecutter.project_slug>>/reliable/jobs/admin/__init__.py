"""Pages of Django's admin; each module registers its own."""

from reliable.jobs.admin import schedule

__all__ = ["schedule"]
