"""The settings of every environment: one composition, differences are environment variables.

Each topic has its file; .env.example describes each variable. The safe value is the default.
Reference: https://docs.djangoproject.com/en/5.2/ref/settings/
"""

from config.settings.cache import *
from config.settings.celery import *
from config.settings.core import *
from config.settings.database import *
from config.settings.logging import *
from config.settings.mail import *
from config.settings.probes import *
from config.settings.queues import *
from config.settings.schedule import *
from config.settings.security import *
from config.settings.supervisor import *
from config.settings.web import *
