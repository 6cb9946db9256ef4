"""The operations page in Django's admin: is all well, and if not, what is wrong."""

from reliable.probes.admin import pages

__all__ = ["pages"]
