"""The example goes whole, at generation or later, and leaves the same files."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import texts, tree


@pytest.fixture
def shop(project: Path, tmp_path: Path) -> Path:
    """Return a copy of the default project, to be changed."""
    return Path(shutil.copytree(project, tmp_path / "my_shop"))


def remove(project: Path, script: str = "shop/remove.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script], cwd=project, capture_output=True, text=True, check=False
    )


def lint(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "--quiet", "."]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False).stdout


def test_removing_the_example_later_leaves_the_files_of_a_project_made_without_it(
    shop: Path, plain_project: Path
) -> None:
    done = remove(shop)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(shop) == tree(plain_project)


def test_the_removal_says_what_it_did_and_how_to_drop_the_tables(shop: Path) -> None:
    printed = remove(shop).stdout
    assert re.search(r"^config/urls\.py: [0-9]+ lines removed$", printed, re.MULTILINE)
    assert re.search(r"^shop/: deleted$", printed, re.MULTILINE)
    assert "python manage.py migrate shop zero" in printed


def test_nothing_of_the_example_is_left(plain_project: Path) -> None:
    assert not (plain_project / "shop").exists()
    for name, text in texts(plain_project).items():
        assert not re.search(r"example: (begin|end)", text), name
        # An import, a path, a dotted name or a string; `shop.example.com` is a host.
        mention = re.search(r"(?<![\w./-])shop(?=[/\"']|\.(?!example\b))", text)
        assert not mention, f"{name}: {text[mention.start() - 40 : mention.end() + 40]}"


def test_the_default_project_keeps_the_example_and_its_markers(project: Path) -> None:
    assert (project / "shop" / "apps.py").is_file()
    assert "# example: begin" in (project / "config" / "settings" / "core.py").read_text()


@pytest.mark.parametrize("arguments", [("format", "--diff"), ("check",)], ids=lambda args: args[0])
@pytest.mark.parametrize("which", ["project", "plain_project"])
def test_a_project_is_formatted_and_linted_with_and_without_the_example(
    request: pytest.FixtureRequest, which: str, arguments: tuple[str, ...]
) -> None:
    assert lint(request.getfixturevalue(which), *arguments) == ""


def test_line_ends_modes_and_other_files_stay(shop: Path) -> None:
    script = shop / "deploy" / "windows.cmd"
    script.parent.mkdir(exist_ok=True)
    script.write_bytes(b"a\r\n# example: begin\r\nb\r\n# example: end\r\nc\r\n")
    script.chmod(0o755)
    binary = shop / "logo.bin"
    binary.write_bytes(b"\0\n# example: begin\n")
    latin = shop / "latin.txt"
    latin.write_bytes(b"\xe9\n# example: begin\n")
    prose = shop / "notes.md"
    prose.write_text("The lines between `example: begin` and `example: end` go.\n")
    tool = shop / ".venv" / "tool.py"
    tool.parent.mkdir()
    tool.write_text("# example: end\n")
    assert remove(shop).returncode == 0
    assert script.read_bytes() == b"a\r\nc\r\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert binary.read_bytes() == b"\0\n# example: begin\n"
    assert latin.read_bytes() == b"\xe9\n# example: begin\n"
    assert prose.read_text().count("example: ") == 2
    assert tool.exists()


def test_a_file_that_is_all_example_is_deleted_with_its_empty_folder(shop: Path) -> None:
    page = shop / "manual" / "shop" / "page.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!-- example: begin -->\n<p>Shop</p>\n<!-- example: end -->\n")
    assert "manual/shop/page.html: deleted" in remove(shop).stdout
    assert not (shop / "manual").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\n# example: begin\nx = 2\n", 2),
        ("x = 1\n# example: end\n", 2),
        ("# example: begin\n# example: end\n# example: end\n", 3),
        ("# example: begin\n# example: begin\n# example: end\n# example: end\n", 2),
        ("x = 1\n\nfrom shop.models import Order\n", 3),
        ("def f():\n    import shop\n", 2),
    ],
)
def test_what_would_break_is_refused_by_file_and_line_and_nothing_changes(
    shop: Path, text: str, line: int
) -> None:
    # Last in the order of names, so that the others have been looked at before.
    (shop / "zebra.py").write_text(text)
    before = tree(shop)
    done = remove(shop)
    assert done.returncode == 1
    assert re.fullmatch(rf"zebra\.py, line {line}: [^\n]+\.\n", done.stderr), done.stderr
    assert tree(shop) == before


@pytest.mark.parametrize("needed", ["manage.py", "pyproject.toml"])
def test_a_folder_that_is_no_project_is_refused(shop: Path, needed: str) -> None:
    (shop / needed).unlink()
    before = tree(shop)
    done = remove(shop)
    assert done.returncode == 1
    assert re.fullmatch(rf"[^\n]+ has no {re.escape(needed)}: [^\n]+\.\n", done.stderr)
    assert tree(shop) == before


def test_a_second_removal_is_refused_with_a_sentence(
    project: Path, plain_project: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "remove.py"
    shutil.copy(project / "shop" / "remove.py", saved)
    before = tree(plain_project)
    done = remove(plain_project, str(saved))
    assert done.returncode == 1
    assert done.stderr.endswith("that still has the example.\n")
    assert tree(plain_project) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\n\n[b]\n\nc\n", "a\n\nc\n"),
        ("a\n\n\n[b]\n\n\nc\n", "a\n\n\nc\n"),
        ("a\n\n[b]\n\n\nc\n", "a\n\n\nc\n"),
        ("a\n[b]\n\nc\n", "a\n\nc\n"),
        ("a\n[b]\nc\n", "a\nc\n"),
        ("[b]\n\na\n", "a\n"),
        ("a\n\n[b]\n", "a\n"),
        ("a\n\n[b]\n[b]\n\nc\n", "a\n\nc\n"),
        ("a\n\n\n", "a\n\n\n"),
        ("[b]\n", ""),
    ],
)
def test_blank_lines_around_a_block_are_not_doubled(project: Path, before: str, after: str) -> None:
    without_example = runpy.run_path(str(project / "shop" / "remove.py"))["without_example"]
    block = "# example: begin\nb\n# example: end"
    text, removed = without_example(before.replace("[b]", block), Path("file.py"))
    assert text == after
    assert removed == before.replace("[b]", block).count("\n") - after.count("\n")
