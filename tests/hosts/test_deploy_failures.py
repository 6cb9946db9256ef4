"""Deploys that fail, are cut off, or meet another: the old release serves throughout.

The site, and what is deployed on it, is shared with the other tests of deploys: each begins with
whatever serves, and leaves a release that works.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hosts.commits import HERE
from hosts.deploys import Deploys, hook, wait
from hosts.load import Visitors

pytestmark = pytest.mark.hosts

STEPS = (
    "lock",
    "recover",
    "preflight",
    "build",
    "check",
    "migrate",
    "start",
    "ready",
    "switch",
    "handover",
    "gate",
    "commit",
    "drain",
    "tidy",
)
# From here on the new release serves and works: a deploy is finished, not undone.
FINISHED = ("drain", "tidy")
# CI's form takes some of them: HOSTS_STEPS="build gate".
CHOSEN = tuple(os.environ.get("HOSTS_STEPS", "").split()) or STEPS
if unknown := set(CHOSEN) - set(STEPS):
    raise pytest.UsageError(f"HOSTS_STEPS knows {' '.join(STEPS)}, not {' '.join(unknown)}")

FAILING = """\
- name: Fail, as a team's own check may
  ansible.builtin.fail:
    msg: the hook says no
  when: inventory_hostname == 'worker1'
"""
WAITING = """\
- name: Wait for whoever kills this deploy
  ansible.builtin.wait_for:
    timeout: 600
  delegate_to: localhost
  become: false
  run_once: true
"""

# What breaks a release, by the step that finds it: files, and what the message says.
BROKEN: Mapping[str, tuple[Mapping[str, str], str]] = {
    "build": (
        {"requirements/production.txt": "no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n"},
        "no-such-package",
    ),
    "check": (
        {
            "drill/models.py": (HERE / "drill/models.py").read_text()
            + (
                "\nfrom django.core import checks\n\n\n"
                "@checks.register(deploy=True)\n"
                "def no_mail(app_configs, **_):\n"
                "    return [checks.Error('no mail today')]\n"
            )
        },
        "no mail today",
    ),
    "migrate": (
        {
            "drill/migrations/0002_narrow.py": (
                "from django.db import migrations\n\n\n"
                "class Migration(migrations.Migration):\n"
                "    dependencies = [('drill', '0001_initial')]\n"
                "    operations = [migrations.RemoveField('effect', 'kind')]\n"
            )
        },
        "DROPPING columns",
    ),
    "start": ({"config/wsgi.py": "raise RuntimeError('no web today')\n"}, "no web today"),
    "ready": (
        {
            "drill/urls.py": (
                "from django.http import HttpResponse\n"
                "from django.urls import path\n\n"
                "urlpatterns = [path('readyz', lambda request: HttpResponse(status=503))]\n"
            )
        },
        "503",
    ),
}


@pytest.fixture
def serving(deploys: Deploys) -> str:
    """Return the name of the release that works."""
    return deploys.current(deploys.app_hosts[0])


@pytest.fixture
def visited(deploys: Deploys) -> Iterator[Visitors]:
    each = {"short_durable": 1, "short_plain": 1, "email_plain": 1}
    with Visitors(deploys.web, deploys.domain, rate=2, each=each) as visitors:
        yield visitors


def works(deploys: Deploys, release: str) -> None:
    """The release alone answers and works, on all hosts, and nothing stands in the way."""
    for host in deploys.app_hosts:
        assert deploys.current(host) == release
        assert deploys.lock(host) == ""
    for _ in range(4):
        answer = deploys.ask(short_plain=2, short_durable=2, email_plain=1, charge_durable=1)
        assert answer["release"] == release
    deploys.settled()
    for task in answer["sent"]:
        assert deploys.ended_by(task) == [release]


def nothing_went_wrong(deploys: Deploys, visitors: Visitors) -> None:
    visitors.end()
    assert not visitors.failed
    for count in deploys.settled().values():
        assert (count.lost, count.doubled, count.repeated) == (0, 0, 0), count


@pytest.mark.long
@pytest.mark.parametrize("step", [step for step in BROKEN if step in CHOSEN])
def test_a_broken_release_is_named_and_undone(
    deploys: Deploys, serving: str, visited: Visitors, step: str
) -> None:
    files, said = BROKEN[step]
    folder = deploys.site.folder
    before = {name: _text(folder / name) for name in files}
    release = deploys.commit(f"Break {step}", files)
    try:
        run = deploys.deploy("ARGS=-e generation_timeout=20")
    finally:
        deploys.commit(f"Repair {step}", before)
    assert run.returncode != 0
    # gunicorn may be seen to run before its process has crashed.
    steps = "start|ready" if step == "start" else step
    found = re.search(f"of release {release} stopped at the step ({steps})", run.output)
    assert found, run.output[-4000:]
    assert said in run.output
    assert f"It was undone: release {serving}" in run.output
    works(deploys, serving)
    nothing_went_wrong(deploys, visited)


@pytest.mark.parametrize("step", [step for step in STEPS if step in CHOSEN])
def test_a_deploy_that_fails_at_a_step_leaves_what_serves(
    deploys: Deploys, serving: str, visited: Visitors, step: str
) -> None:
    release = deploys.commit(f"Fail at {step}")
    path = hook(deploys.site.folder, step, FAILING)
    try:
        run = deploys.deploy()
    finally:
        path.unlink()
    assert run.returncode != 0
    assert f"of release {release} stopped at the step {step}" in run.output, run.output[-4000:]
    assert "worker1, Fail, as a team's own check may: the hook says no" in run.output
    works(deploys, release if step in FINISHED else serving)
    nothing_went_wrong(deploys, visited)


@pytest.mark.parametrize("step", [step for step in STEPS if step in CHOSEN])
def test_a_deploy_that_is_cut_off_at_a_step_does_not_stop_the_next(
    deploys: Deploys, visited: Visitors, step: str
) -> None:
    deploys.commit(f"Cut off at {step}")
    path = hook(deploys.site.folder, step, WAITING)
    try:
        with deploys.deploying() as playbook:
            playbook.reached(f"before_{step}.yml")
    finally:
        path.unlink()
    release = deploys.commit(f"After {step}")
    deploys.deployed()
    works(deploys, release)
    wait(lambda: len(deploys.everywhere()) == 1, "what was cut off is still there", 60)
    nothing_went_wrong(deploys, visited)


def test_of_two_deploys_one_refuses_and_says_who_was_first(deploys: Deploys) -> None:
    release = deploys.commit("Two at once")
    path = hook(deploys.site.folder, "build", WAITING)
    try:
        with deploys.deploying() as first:
            first.reached("before_build.yml")
            path.unlink()
            second = deploys.deploy()
            held: dict[str, Any] = deploys.records()
    finally:
        path.unlink(missing_ok=True)
    assert second.returncode != 0
    [started] = [name for name, record in held.items() if record["result"] == "started"]
    assert f"Ann Example on {os.uname().nodename} holds the lock since" in second.output
    assert f"the deploy {started}" in second.output
    assert "Nothing was touched." in second.output
    # The first was killed on this machine: its lock is known to be nobody's.
    deploys.deployed()
    works(deploys, release)


def _text(path: Any) -> str | None:
    return path.read_text() if path.exists() else None
