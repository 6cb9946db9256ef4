"""What every generated project has, whatever was answered."""

import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SOURCES, Bake, texts, tree

DELIMITER = re.compile(r"<<|<%|<#")

ODD = [
    {"project_name": "Café Bücher", "timezone": "America/Argentina/Buenos_Aires"},
    {"project_name": "日本語 🛒", "project_slug": "a" * 30, "example_app": False},
    {"project_name": "A: b, #1 & <c> {d} [e] 50% | @!*", "domain": "a-b.shop.example.co.uk"},
    {"domain": "xn--bcher-kva.example", "timezone": "Etc/GMT+12", "example_app": False},
]


@pytest.fixture(scope="module", params=ODD, ids="-".join)
def odd(bake: Bake, request: pytest.FixtureRequest) -> tuple[dict[str, str], Path]:
    """Return unusual answers and the project that they make."""
    return request.param, bake(**request.param)


def left_delimiters(project: Path) -> list[str]:
    found = [name for name in tree(project) if DELIMITER.search(name)]
    return found + [name for name, text in texts(project).items() if DELIMITER.search(text)]


def test_no_delimiter_is_left_in_a_default_project(project: Path) -> None:
    assert left_delimiters(project) == []


def test_no_delimiter_is_left_without_the_example(plain_project: Path) -> None:
    assert left_delimiters(plain_project) == []


def test_no_delimiter_is_left_with_odd_answers(odd: tuple[dict[str, str], Path]) -> None:
    assert left_delimiters(odd[1]) == []


def test_odd_answers_leave_every_toml_and_yaml_file_readable(
    odd: tuple[dict[str, str], Path],
) -> None:
    answers, project = odd
    for name, text in texts(project).items():
        if name.endswith(".toml"):
            tomllib.loads(text)
        elif name.endswith((".yml", ".yaml")):
            list(yaml.parse(text))
    settings = tomllib.loads((project / "pyproject.toml").read_text())
    assert settings["project"]["name"] == project.name
    assert settings["project"]["description"] == answers.get("project_name", "My Shop")


def test_the_answers_arrive_in_the_environment_file(bake: Bake) -> None:
    project = bake(domain="shop.example.org", timezone="Asia/Tokyo")
    lines = (project / ".env.example").read_text().splitlines()
    assert "TIME_ZONE=Asia/Tokyo" in lines
    assert any(line.startswith("ALLOWED_HOSTS=") and "shop.example.org" in line for line in lines)


@pytest.mark.parametrize("example_app", [True, False])
def test_the_same_answers_give_the_same_bytes_and_modes(bake: Bake, *, example_app: bool) -> None:
    assert tree(bake(example_app=example_app)) == tree(bake(example_app=example_app))


def test_every_file_ends_with_one_line_break(project: Path, plain_project: Path) -> None:
    for folder in (project, plain_project):
        wrong = [
            name
            for name, text in texts(folder).items()
            if text and (not text.endswith("\n") or text.endswith("\n\n"))
        ]
        assert wrong == []


def test_no_folder_is_empty_and_no_cache_is_baked(project: Path, plain_project: Path) -> None:
    for folder in (project, plain_project):
        paths = list(folder.rglob("*"))
        assert [path for path in paths if path.is_dir() and not any(path.iterdir())] == []
        assert [path for path in paths if path.name in {"__pycache__", ".env", ".venv"}] == []


def test_an_executable_file_stays_executable(template: Path, project: Path) -> None:
    for name, (mode, _) in tree(template / SOURCES).items():
        if DELIMITER.search(name) is None:
            assert stat.S_IMODE((project / name).stat().st_mode) == stat.S_IMODE(mode), name


def test_the_template_asks_only_what_it_uses_and_uses_only_what_it_has(
    template: Path, context: Mapping[str, object], prompts: set[str]
) -> None:
    questions = context["__prompts__"]
    assert isinstance(questions, dict)
    assert set(questions) == prompts
    assert len(prompts) <= 6
    # Rich takes a square bracket for markup, and the text vanishes.
    assert not any("[" in question for question in questions.values())
    used = set()
    for text in texts(template / SOURCES).values():
        used |= set(re.findall(r"<[<%][^>%]*?\bcookiecutter\.(\w+)", text))
    assert used <= set(context)
    assert prompts - used == {"example_app"}


def test_no_python_file_is_templated(template: Path) -> None:
    sources = texts(template / SOURCES)
    assert [
        name for name, text in sources.items() if name.endswith(".py") and DELIMITER.search(text)
    ] == []


def test_at_most_a_tenth_of_the_files_is_templated(template: Path) -> None:
    sources = texts(template / SOURCES)
    templated = [name for name, text in sources.items() if DELIMITER.search(text)]
    assert len(templated) <= len(sources) / 10, templated


def test_the_top_of_a_project_can_be_read_at_a_glance(project: Path) -> None:
    visible = [path for path in project.iterdir() if not path.name.startswith(".")]
    assert len([path for path in visible if path.is_dir()]) <= 8
    assert len([path for path in visible if path.is_file()]) <= 10


def test_the_readme_of_a_project_is_short(project: Path) -> None:
    assert len((project / "README.md").read_text().splitlines()) <= 150


def test_a_project_records_the_version_of_the_template(
    context: Mapping[str, object], project: Path
) -> None:
    version = context["_template_version"]
    recorded = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["reliable-celery"]
    assert recorded["template_version"] == version
    own = ROOT / "pyproject.toml"
    if own.exists():
        assert tomllib.loads(own.read_text())["project"]["version"] == version
