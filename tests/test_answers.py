"""An answer that a project could not live with is refused before anything is written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest
from conftest import SOURCES, Bake, tree
from cookiecutter.exceptions import (
    FailedHookException,
    OutputDirExistsException,
    UndefinedVariableInTemplate,
)
from cookiecutter.main import cookiecutter

BAD = [
    ("project_name", ""),
    ("project_name", "   "),
    ("project_name", "x" * 61),
    ("project_name", "two\nlines"),
    ("project_name", "two\r\nlines"),
    ("project_name", "tab\there"),
    ("project_name", "bell\a"),
    ("project_name", "right-to-left \u202e override"),
    ("project_name", "lone surrogate \udc80"),
    ("project_name", "it's"),
    ("project_name", 'say "hi"'),
    ("project_name", '""" + __import__("os").system("touch pwned") + """'),
    ("project_name", "back\\slash"),
    ("project_name", "a >> b"),
    ("project_name", "a %> b"),
    ("project_name", "a #> b"),
    ("project_name", "{{ name }}"),
    ("project_name", "{% now %}"),
    ("project_name", "$(touch pwned)"),
    ("project_name", "`touch pwned`"),
    ("project_slug", ""),
    ("project_slug", "."),
    ("project_slug", ".."),
    ("project_slug", "../up"),
    ("project_slug", "a/b"),
    ("project_slug", "/absolute"),
    ("project_slug", "My_Shop"),
    ("project_slug", "my-shop"),
    ("project_slug", "my shop"),
    ("project_slug", "my_shop\n"),
    ("project_slug", "1shop"),
    ("project_slug", "_shop"),
    ("project_slug", "café"),
    ("project_slug", "a" * 31),
    ("project_slug", "x" * 300),
    ("project_slug", "root"),
    ("project_slug", "postgres"),
    ("project_slug", "www_data"),
    ("project_slug", "template1"),
    ("project_slug", "public"),
    ("project_slug", "pg_shop"),
    ("project_slug", "celery"),
    ("project_slug", "django"),
    ("project_slug", "supervisor"),
    ("project_slug", "json"),
    ("project_slug", "class"),
    ("project_slug", "shop"),
    ("project_slug", "reliable"),
    ("project_slug", "app"),
    ("domain", ""),
    ("domain", "localhost"),
    ("domain", "https://shop.example.org/path"),
    ("domain", "shop.example.org:8000"),
    ("domain", "shop.example.org/"),
    ("domain", "shop.example.org."),
    ("domain", "shop..example.org"),
    ("domain", "-shop.example.org"),
    ("domain", "shop-.example.org"),
    ("domain", "my_shop.example.org"),
    ("domain", "*.example.org"),
    ("domain", "bücher.example"),
    ("domain", "10.0.0.1"),
    ("domain", "a b.example.org"),
    ("domain", "shop.example.org\nDEBUG=True"),
    ("domain", "a" * 64 + ".example.org"),
    ("domain", "a." * 126 + "ab"),
    ("timezone", ""),
    ("timezone", "europe/berlin"),
    ("timezone", "Europe/Berlim"),
    ("timezone", "CEST+2"),
    ("timezone", "../../etc/passwd"),
    ("timezone", "localtime"),
    ("timezone", "UTC\nDEBUG=True"),
]

GOOD = [
    ("project_name", "x"),
    ("project_name", "x" * 60),
    ("project_name", "Café Bücher & Söhne: 100 % <b> #1"),
    ("project_name", "日本語 🛒"),
    ("project_slug", "a"),
    ("project_slug", "a" * 30),
    ("project_slug", "shop_24"),
    ("domain", "a.bc"),
    ("domain", "a-b.shop.example.co.uk"),
    ("domain", "xn--bcher-kva.example"),
    ("domain", "24.example.org"),
    ("domain", "a" * 63 + ".example.org"),
    ("timezone", "America/Argentina/Buenos_Aires"),
    ("timezone", "Etc/GMT+12"),
]

NAMES = [
    ("My Shop", "my_shop"),
    ("  My   Shop!! ", "my_shop"),
    ("R&D / Tools (v2)", "r_d_tools_v2"),
    ("Café Bücher", "cafe_bucher"),
    ("!!!", "my_project"),
    ("A project with a name of many words", "a_project_with_a_name_of_many"),
]


class Answer(Protocol):
    def __call__(self, **answers: object) -> Path: ...


@pytest.fixture(scope="module")
def questions(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with a project of one file: its questions are quick to answer."""
    folder = tmp_path_factory.mktemp("questions") / "template"
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns(SOURCES, "tests", "docs"))
    (folder / SOURCES).mkdir()
    (folder / SOURCES / "answers.txt").write_text("<< cookiecutter.project_slug >>\n")
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return the folder, not yet there, that projects are generated in."""
    return tmp_path / "around" / "output"


@pytest.fixture
def answer(questions: Path, config_file: Path, output: Path) -> Answer:
    """Return a function that generates the small project from some answers."""

    def answer(**answers: object) -> Path:
        project = cookiecutter(
            str(questions),
            no_input=True,
            extra_context=answers,
            output_dir=str(output),
            config_file=str(config_file),
        )
        return Path(project)

    return answer


def run(template: Path, config_file: Path, *arguments: str, typed: str = "") -> tuple[int, str]:
    """Run the cookiecutter command; return its exit status and everything that it printed."""
    command = [sys.executable, "-m", "cookiecutter", "--config-file", str(config_file)]
    done = subprocess.run(
        [*command, str(template), *arguments],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("prompt", "value"), BAD)
def test_a_bad_answer_is_refused_with_one_sentence_and_nothing_is_left(
    answer: Answer, output: Path, capfd: pytest.CaptureFixture[str], prompt: str, value: str
) -> None:
    with pytest.raises(FailedHookException):
        answer(**{prompt: value})
    message = capfd.readouterr().err
    sentence = re.fullmatch(rf'{prompt} ".*" [^\n]+; try "([^"\n]+)"\.\n', message)
    assert sentence, message
    assert not output.parent.exists()
    # What the sentence proposes is accepted.
    assert answer(**{prompt: sentence[1]}).is_dir()


@pytest.mark.parametrize("value", ["a<<b", "a <% b", "a <# b", "a<< 1 >>b", "<% raw %>"])
@pytest.mark.parametrize("prompt", ["project_name", "project_slug", "domain", "timezone"])
def test_a_delimiter_is_refused_although_cookiecutter_renders_answers(
    answer: Answer, output: Path, capfd: pytest.CaptureFixture[str], prompt: str, value: str
) -> None:
    with pytest.raises(FailedHookException):
        answer(**{prompt: value})
    message = capfd.readouterr().err
    assert re.fullmatch(r'The answer ".*" may not hold <[<%#]; try "[^"]+"\.\n', message), message
    assert not output.parent.exists()


def test_an_answer_that_refers_to_another_one_is_checked_when_it_is_rendered(
    answer: Answer, output: Path
) -> None:
    with pytest.raises(FailedHookException):
        answer(project_slug="<< cookiecutter.project_name >>")
    with pytest.raises(UndefinedVariableInTemplate):
        answer(project_name="<< cookiecutter.nothing >>")
    assert not output.exists()


@pytest.mark.parametrize(
    ("prompt", "value"),
    [
        ("project_name", None),
        ("project_slug", {"a": "b"}),
        ("domain", None),
        ("example_app", None),
        ("example_app", 1),
        ("example_app", "perhaps"),
    ],
)
def test_an_answer_of_the_wrong_type_is_refused(
    answer: Answer, output: Path, prompt: str, value: object
) -> None:
    # Cookiecutter itself refuses a text for a truth, with a ValueError that names the prompt.
    with pytest.raises((FailedHookException, ValueError)):
        answer(**{prompt: value})
    assert not output.exists()


@pytest.mark.parametrize(("prompt", "value"), GOOD)
def test_a_good_answer_at_the_edge_is_accepted(answer: Answer, prompt: str, value: str) -> None:
    assert (answer(**{prompt: value}) / "answers.txt").is_file()


def test_a_machine_without_a_zone_database_accepts_what_looks_like_a_zone(
    answer: Answer, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(FailedHookException):
        answer(timezone="nowhere at all")
    assert not output.exists()
    assert answer(timezone="Europe/Berlin").is_dir()


@pytest.mark.parametrize(("name", "slug"), NAMES)
def test_the_slug_is_made_from_the_name(answer: Answer, name: str, slug: str) -> None:
    assert answer(project_name=name).name == slug


@pytest.mark.parametrize("argument", ["project_slug=My-Shop", "project_name=a<<b", "domain=x"])
def test_the_command_prints_the_sentence_and_no_traceback(
    questions: Path, config_file: Path, output: Path, argument: str
) -> None:
    status, printed = run(questions, config_file, "--no-input", "-o", str(output), argument)
    assert status == 1
    assert re.fullmatch(r'.*; try ".*"\.\nNothing was generated\.\n', printed), printed
    assert not output.exists()


def test_a_typed_answer_is_refused_like_one_on_the_command_line(
    questions: Path, config_file: Path, output: Path
) -> None:
    typed = "a<<b\nmy_shop\nexample.com\nUTC\ny\n"
    status, printed = run(questions, config_file, "-o", str(output), typed=typed)
    assert status == 1
    assert printed.endswith(
        'project_name "a<<b" may not hold <<; try "a b".\nNothing was generated.\n'
    ), printed
    assert not output.exists()


def test_a_replayed_answer_is_refused_too(
    questions: Path, config_file: Path, output: Path, tmp_path: Path
) -> None:
    assert run(questions, config_file, "--no-input", "-o", str(tmp_path / "first"))[0] == 0
    saved = next((config_file.parent / "replay").glob(f"{questions.name}.json"))
    replay = tmp_path / "replay.json"
    replay.write_text(saved.read_text().replace('"example.com"', '"local \\" host"'))
    status, printed = run(questions, config_file, "--replay-file", str(replay), "-o", str(output))
    assert status == 1
    assert printed.splitlines()[0].startswith('domain "local \\" host" is not a host name')
    assert not (output / "my_shop").exists()


def test_a_folder_that_exists_is_not_touched(answer: Answer, output: Path) -> None:
    (output / "my_shop").mkdir(parents=True)
    with pytest.raises(OutputDirExistsException, match="my_shop"):
        answer()
    assert list((output / "my_shop").iterdir()) == []


@pytest.mark.parametrize("options", ["-f", "-fs"])
def test_a_folder_that_is_not_empty_is_refused_even_when_overwriting_is_asked_for(
    questions: Path, config_file: Path, output: Path, options: str
) -> None:
    folder = output / "my_shop"
    folder.mkdir(parents=True)
    (folder / "answers.txt").write_text("precious\n")
    before = tree(output)
    status, printed = run(questions, config_file, "--no-input", options, "-o", str(output))
    assert status == 1
    assert printed.splitlines()[0] == (
        'project_slug "my_shop" names a folder that exists and is not empty; try "my_shop_2".'
    )
    assert tree(output) == before


def test_an_empty_folder_is_filled_when_overwriting_is_asked_for(
    questions: Path, config_file: Path, output: Path
) -> None:
    (output / "my_shop").mkdir(parents=True)
    assert run(questions, config_file, "--no-input", "-f", "-o", str(output))[0] == 0
    assert (output / "my_shop" / "answers.txt").read_text() == "my_shop\n"


def test_the_whole_template_refuses_a_bad_answer_too(
    bake: Bake, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FailedHookException):
        bake(project_slug="My-Shop")
    assert 'try "my_shop"' in capfd.readouterr().err
