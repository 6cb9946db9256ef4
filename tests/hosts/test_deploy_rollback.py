"""Rollbacks: deploys of an older release, workers and beat with it."""

import re

import pytest

from hosts.deploys import Deploys, wait
from hosts.load import Visitors

pytestmark = [pytest.mark.hosts, pytest.mark.long]

SHORT = {"short_durable": 2, "short_plain": 1, "email_plain": 1, "charge_durable": 1}

WIDER = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("drill", "0001_initial")]
    operations = [migrations.AddField("effect", "extra", models.TextField(null=True))]
"""
NARROWER = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("drill", "0002_wider")]
    operations = [migrations.RemoveField("effect", "extra")]
"""
MODEL = "drill/models.py"


def test_a_rollback_under_load_and_during_a_drain_is_a_deploy(deploys: Deploys) -> None:
    """Nothing fails, the older release answers everywhere, and the newer one ends its task."""
    older = deploys.commit("Older")
    deploys.deployed()
    with Visitors(deploys.web, deploys.domain, each=SHORT) as visitors:
        newer = deploys.commit("Newer")
        deploys.deployed()
        [task] = deploys.ask(report_durable=-1)["sent"]
        wait(lambda: bool(deploys.begun_by(task)), "the long task has not begun", 30)
        run = deploys.site.make("rollback", "RELEASE=previous")
        assert run.returncode == 0, run.output[-4000:]
        assert re.search(f"{newer}  \\d+ min ago  by Ann Example  live", run.output)
        assert f"{older}  " in run.output
        again = deploys.site.make("rollback", f"RELEASE={newer}")
        assert again.returncode == 0, again.output[-4000:]
        last = deploys.site.make("rollback", "RELEASE=previous")
        assert last.returncode == 0, last.output[-4000:]
    print(f"{len(visitors.failed)} of {len(visitors.answers)} requests failed over 3 rollbacks")
    assert not visitors.failed
    assert {answer.release for answer in visitors.answers} == {older, newer}
    for _ in range(6):
        sent = deploys.ask(**SHORT)
        assert sent["release"] == older
    deploys.free(task)
    for count in deploys.settled().values():
        assert (count.lost, count.doubled, count.repeated, count.moved) == (0, 0, 0, 0), count
    assert deploys.ended_by(task) == [newer]
    assert {release for each in sent["sent"] for release in deploys.ended_by(each)} == {older}
    for host in deploys.app_hosts:
        assert deploys.current(host) == older


def test_a_rollback_refuses_where_migrations_forbid_it(deploys: Deploys) -> None:
    model = (deploys.site.folder / MODEL).read_text()
    added = model.replace(
        "    at = ", "    extra = models.TextField(null=True)  # noqa: DJ001\n    at = "
    )
    wide = deploys.commit("Wider", {MODEL: added, "drill/migrations/0002_wider.py": WIDER})
    deploys.deployed()
    narrow = deploys.commit(
        "Narrower", {MODEL: model, "drill/migrations/0003_narrower.py": NARROWER}
    )
    refused = deploys.deploy()
    assert refused.returncode != 0
    assert "stopped at the step migrate" in refused.output
    assert "drill, 0003_narrower" in refused.output
    deploys.deployed("UNSAFE_MIGRATIONS=nothing reads it")
    assert deploys.current(deploys.app_hosts[0]) == narrow
    run = deploys.site.make("rollback", f"RELEASE={wide}")
    assert run.returncode != 0
    assert f"The release {wide} cannot come back" in run.output
    assert "nothing reads it" in run.output
    assert deploys.current(deploys.app_hosts[0]) == narrow


def test_a_rollback_to_what_is_not_there_is_refused(deploys: Deploys) -> None:
    run = deploys.site.make("rollback", "RELEASE=20200101-0000-0000000")
    assert run.returncode != 0
    assert "There is no release 20200101-0000-0000000 that is complete on every host" in run.output
