"""The applications, and what the project is called.

Reference: https://docs.djangoproject.com/en/5.2/ref/settings/#core-settings
"""

import tomllib
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ImproperlyConfigured

from config.settings.env import BASE_DIR, DEBUG, env

with (BASE_DIR / "pyproject.toml").open("rb") as file:
    _PROJECT = tomllib.load(file)["project"]

# What people and machines call this project.
PROJECT_TITLE = _PROJECT["description"]
PROJECT_SLUG = _PROJECT["name"]

# Which code runs: in every log line, node name and probe. A deploy sets it.
RELEASE = env.str("RELEASE", default="development" if DEBUG else "unknown")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "reliable",
    "reliable.jobs",
    "reliable.probes",
    "accounts",
    # example: begin
    "shop",
    # example: end
]
if DEBUG:
    INSTALLED_APPS.append("reliable.development")

AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
USE_I18N = True
USE_TZ = True
# Beat's crontabs are read in this zone too.
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
try:
    ZoneInfo(TIME_ZONE)
except (ValueError, ZoneInfoNotFoundError) as error:
    raise ImproperlyConfigured(
        f"TIME_ZONE={TIME_ZONE} is no time zone; write for example TIME_ZONE=Europe/Berlin."
    ) from error

# example: begin
# Who takes the shop's money: /charges is added to it. Without it nobody is charged and each order
# counts as paid, with a warning in the log, since the shop is there to be looked at.
PAYMENT_URL = env.str("PAYMENT_URL", default="").rstrip("/")
if PAYMENT_URL and not PAYMENT_URL.startswith(("http://", "https://")):
    raise ImproperlyConfigured(
        "PAYMENT_URL has no scheme; write for example PAYMENT_URL=https://payments.example.com."
    )
# example: end
