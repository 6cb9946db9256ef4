"""The pages that alarms name, as somebody meets them in the admin."""

from pathlib import Path

import pytest
from django.test import Client, override_settings

from reliable.probes.alarms.message import runbook
from reliable.probes.diagnosis import Verdict
from reliable.probes.runbooks import rendered
from reliable.probes.states import FAILING, Hop, State
from reliable.tests.staff import somebody

ADDRESS = "/admin/runbooks/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for state in (State.LATE, *FAILING):
        for hop in (None, *Hop):
            name = runbook(Verdict(state, "", hop))
            (tmp_path / f"{name}.md").write_text(f"# About {name}\n\nWhat to do.\n", "utf-8")
    return tmp_path


@pytest.mark.django_db
def test_each_alarm_leads_to_its_page(folder: Path) -> None:
    client = somebody("ada", "view_target")
    with override_settings(RELIABLE_RUNBOOKS=folder):
        index = client.get(ADDRESS).content.decode()
        for file in folder.glob("*.md"):
            assert f"{ADDRESS}{file.stem}/" in index
            page = client.get(f"{ADDRESS}{file.stem}/").content.decode()
            assert f"About {file.stem}" in page
            assert "<p>What to do.</p>" in page
            assert " style=" not in page


@pytest.mark.django_db
def test_who_may_not_look_at_probes_sees_none(folder: Path) -> None:
    colleague = somebody("bo", "view_job")
    with override_settings(RELIABLE_RUNBOOKS=folder):
        for address in (ADDRESS, f"{ADDRESS}late/"):
            assert colleague.get(address).status_code == 403
            stranger = Client(headers={"x-forwarded-proto": "https"}).get(address)
            assert stranger.status_code == 302
            assert "/admin/login/" in stranger["Location"]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["none", "..", "..%2f..%2fsecret"])
def test_only_what_is_there_is_shown(folder: Path, name: str) -> None:
    with override_settings(RELIABLE_RUNBOOKS=folder):
        assert somebody("ada", "view_target").get(f"{ADDRESS}{name}/").status_code == 404


def test_html_in_a_page_is_text() -> None:
    html = rendered("<script>alert(1)</script>\n\n[x](javascript:alert) `a < b`")
    assert "<script" not in html
    assert 'href="javascript' not in html
    assert "a &lt; b" in html


def test_a_link_to_another_runbooks_file_leads_to_its_page() -> None:
    html = rendered("[a](late.md) [b](https://example.com/x.md)")
    assert 'href="../late/"' in html
    assert 'href="https://example.com/x.md"' in html
