"""Who may talk to the site, and over what. Safe by default; DEBUG relaxes it for one machine.

Reference: https://docs.djangoproject.com/en/5.2/topics/security/
"""

from environs import validate

from config.settings.env import DEBUG, env

# Signs sessions and password resets. `make` writes a random one into .env.
SECRET_KEY = env.str("SECRET_KEY", validate=validate.Length(min=16))

# Without it a forged Host header ends up in links and e-mails.
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else []
)

# TLS ends at nginx, which sets the header and removes one that a visitor sent.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = not DEBUG
# Who checks from the same machine speaks no TLS, and takes a redirect for an answer.
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|health/.*|metrics)$"]
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG

# One hour to begin with: browsers remember it, and a site that loses its certificate is then
# unreachable for that long. Raise it to 31536000 when HTTPS has proved itself.
SECURE_HSTS_SECONDS = 0 if DEBUG else env.int("SECURE_HSTS_SECONDS", default=3600)

SILENCED_SYSTEM_CHECKS = [
    # HSTS for all subdomains, and its preload list: this project cannot know what else runs on the
    # domain's other names, and neither can be taken back quickly.
    "security.W005",
    "security.W021",
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
