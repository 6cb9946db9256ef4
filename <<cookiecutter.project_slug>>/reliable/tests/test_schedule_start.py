"""No process starts with a wrong schedule, and none changes anything before it has said why."""

import pytest

from reliable.testing.checkout import Checkout

UNKNOWN_TASK = """
from reliable.schedule import every

SCHEDULE["nightly"] = Entry("accounts.tasks.typo", every(hours=1), expires=60)
"""
NO_ZONE = """
SCHEDULE["nightly"] = Entry("accounts.tasks.typo", crontab("0 4 * * *", timezone="Berlin"))
"""
COMMANDS = {
    "check": ["manage.py", "check"],
    "worker": ["-m", "celery", "--app", "config", "worker"],
    "beat": ["-m", "celery", "--app", "config", "beat", "--pidfile", ""],
    "relay": ["manage.py", "relay"],
    "web": ["-m", "gunicorn", "config.wsgi", "--bind", "127.0.0.1:0", "--no-control-socket"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (UNKNOWN_TASK, "The entry `nightly` of the schedule: `task` names 'accounts.tasks.typo'"),
        (NO_ZONE, "entry `nightly`: `timezone` cannot be 'Berlin'; write for example timezone="),
    ],
    ids=["task", "zone"],
)
def test_it_refuses_and_names_the_entry_and_the_field(
    checkout: Checkout, command: list[str], mistake: str, sentence: str
) -> None:
    file = checkout.directory / "config" / "schedule.py"
    before = file.read_text(encoding="utf-8")
    checkout.append("config/schedule.py", mistake)
    try:
        done = checkout.python(*command)
    finally:
        file.write_text(before, encoding="utf-8")
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
