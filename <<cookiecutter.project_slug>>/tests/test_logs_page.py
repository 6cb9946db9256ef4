"""docs/logs-and-checks.md names what durable tasks and probes log."""

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings

PROJECT = Path(settings.SUPERVISOR["directory"])
PAGE = (PROJECT / "docs" / "logs-and-checks.md").read_text(encoding="utf-8")


def events() -> set[str]:
    """What the code calls its lines: each string that is nothing but such a name."""
    return {
        str(node.value)
        for part in ("jobs", "probes")
        for file in (PROJECT / "reliable" / part).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and re.fullmatch(r"(?:job|relay|worker|queue|probe|alarm)\.[a-z_]+", str(node.value))
    }


@pytest.mark.parametrize("event", sorted(events()))
def test_the_page_of_logs_explains(event: str) -> None:
    assert f"`{event}`" in PAGE
