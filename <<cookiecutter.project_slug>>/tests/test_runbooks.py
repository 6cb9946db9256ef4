"""docs/runbooks and deploy/monitoring are true: pages, metrics and commands are what they say."""

import json
import os
import re
import shlex
import shutil
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import load_command_class
from django.test import Client

from reliable.probes.alarms.message import runbook
from reliable.probes.diagnosis import Verdict
from reliable.probes.states import FAILING, Hop, State

PROJECT = Path(settings.SUPERVISOR["directory"])
FOLDER = PROJECT / "docs" / "runbooks"
PAGES = sorted(FOLDER.glob("*.md"))
MONITORING = PROJECT / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{
        panel["title"]: " ".join(each["expr"] for each in panel["targets"])
        for panel in DASHBOARD["panels"]
    },
}
APPS = {
    "check": "django.core",
    "doctor": "reliable",
    "jobs": "reliable.jobs",
    "queues": "reliable.probes",
    "schedule": "reliable.jobs",
}
# What is in a table only when something is wrong, or when somebody did something.
SOMETIMES = """
INSERT INTO reliable_probe_target (kind, name, seen_at, sent_at, returned_at, latency, report)
VALUES
    ('beat', 'beat', now() - interval '1 hour', NULL, NULL, NULL, '{}'),
    ('queue', 'mail', NULL, now(), now(), 0.2, '{}'),
    ('worker', 'mail@a', now(), now(), now(), 0.1, '{"slots": 1}')
"""


def _commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(python manage\.py [^`]+)`", text)
    return [line for block in blocks for line in block.splitlines()] + inline


COMMANDS = sorted({(page.stem, line) for page in PAGES for line in _commands(page)})


@pytest.mark.parametrize("state", [State.LATE, *sorted(FAILING)])
@pytest.mark.parametrize("hop", [None, *Hop])
def test_each_alarm_has_its_runbook(state: State, hop: Hop | None) -> None:
    assert (FOLDER / f"{runbook(Verdict(state, '', hop))}.md").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_how_to_see_it_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert text.startswith("# ")
    assert headings == ["## What it means", "## How to see it", "## What to do"]
    assert len(text.splitlines()) < 60
    for target in re.findall(r"\]\(([\w-]+\.md)\)", text):
        assert (FOLDER / target).exists()


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_each_command_is_one(page: str, command: str) -> None:
    words = shlex.split(command)
    if words[:2] == ["python", "manage.py"]:
        name = words[2]
        parser: ArgumentParser = load_command_class(APPS[name], name).create_parser("", name)
        parser.parse_args(words[3:])
    elif words[0] == "supervisorctl":
        assert words[1] in {"status", "restart", "signal"}
        for program in words[2:]:
            assert re.fullmatch(
                r"KILL|generation-([\w-]+):(?:beat|relay|web|worker-\w+)-\1", program
            )
    else:
        assert words[0] == "curl"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_leads_to_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"]
    address = rule["annotations"]["runbook_url"]
    path, name = address.rstrip("/").rsplit("/", 1)
    assert path.endswith("/admin/runbooks")
    assert (FOLDER / f"{name}.md").exists()


def test_no_runbook_is_of_no_alarm() -> None:
    core = {
        runbook(Verdict(state, "", hop)) for state in (State.LATE, *sorted(FAILING)) for hop in Hop
    }
    alerts = {rule["annotations"]["runbook_url"].rstrip("/").rsplit("/", 1)[1] for rule in RULES}
    assert {page.stem for page in PAGES} == core | alerts


@pytest.mark.django_db
def test_each_metric_that_is_named_is_in_a_scrape(client: Client) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(SOMETIMES)
    body = client.get("/metrics").content.decode()
    there = set(re.findall(r"^(reliable_\w+)(?:\{|\s)", body, re.MULTILINE))
    for place, expression in EXPRESSIONS.items():
        named = set(re.findall(r"reliable_\w+", expression))
        assert named, place
        assert named <= there, place


@pytest.mark.skipif(
    not PROMTOOL and "CI" not in os.environ, reason="needs promtool: apt-get install prometheus"
)
def test_prometheus_takes_the_rules_and_they_do_what_they_say() -> None:
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(
            [str(PROMTOOL), *arguments],
            cwd=MONITORING,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
