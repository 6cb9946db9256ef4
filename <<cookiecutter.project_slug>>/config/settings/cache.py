"""The cache: what may be evicted at any moment.

Reference: https://docs.djangoproject.com/en/5.2/topics/cache/#redis
"""

from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings.env import env, only_in_development
from reliable.development.paths import DEVELOPMENT
from reliable.redis import check_url

CACHE_URL = check_url(
    "CACHE_URL", env.str("CACHE_URL", **only_in_development(DEVELOPMENT.cache_url))
)

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        # Without them a request hangs for as long as a frozen cache does, and redis-py tries ten
        # times, with growing pauses, to reach one that is down.
        "OPTIONS": {
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "retry": Retry(NoBackoff(), 1),
        },
    },
}
