"""The schedule, validated once: every other part reads SCHEDULE, never the file."""

from config.schedule import SCHEDULE as _DECLARED
from config.settings.core import TIME_ZONE
from reliable import schedule

SCHEDULE = schedule.validate(_DECLARED, TIME_ZONE)
