"""Removes the example: `make remove-example`, or `python shop/remove.py` in the project's root.

The example is this folder, and elsewhere the lines between two comments, `example: begin` and
`example: end`. A project that was generated without the example went through the same function.
Standard library only: it runs before anything is installed.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = "shop"

# A line that is nothing but the comment, in the syntax of the file.
MARKER = re.compile(
    r"\s*(?:#|//|--|;|/\*|<!--|\{#)\s*example: (?P<edge>begin|end)\s*(?:\*/|-->|#\})?\s*"
)
IMPORT = re.compile(rf"\s*(?:from|import)\s+{FOLDER}\b")

# Not the project's sources.
SKIPPED = {".git", ".run", ".venv", "__pycache__", "node_modules", "venv"}

TABLES = f"""\
Tables of the example stay in a database that has them. To drop them, bring the folder back from
git, run `python manage.py migrate {FOLDER} zero`, and remove the example again.
"""


class ExampleError(Exception):
    """Why the example cannot be removed. Nothing was changed."""


def remove_example(project: Path) -> list[str]:
    """Delete the example's folder and every marked line of the project's text files.

    A file of which nothing is left is deleted too. Everything is checked before anything changes.

    Returns a line for each file and folder that it changed, in the order of their names.
    Raises ExampleError, with one sentence that names the file, when the folder is no project with
    an example, a marker has no partner, another file imports the example, or one cannot be written.
    """
    for needed in ("manage.py", "pyproject.toml", f"{FOLDER}/remove.py"):
        if not (project / needed).is_file():
            raise ExampleError(
                f"{project} has no {needed}: run this in the root of a project that still has the "
                "example."
            )
    kept = {
        path: without_example(text, path.relative_to(project)) for path, text in _texts(project)
    }
    changed = {path: text for path, (text, removed) in kept.items() if removed}
    for path in (project / FOLDER, *changed):
        if not os.access(path, os.W_OK):
            raise ExampleError(f"{path.relative_to(project)} cannot be written: change its owner.")

    done = []
    for path, text in changed.items():
        name, removed = path.relative_to(project), kept[path][1]
        if text.strip():
            path.write_bytes(text.encode())  # keeps the mode and the line ends
            done.append(f"{name}: {removed} lines removed")
        else:
            path.unlink()
            _remove_empty_folders(path.parent)
            done.append(f"{name}: deleted")
    shutil.rmtree(project / FOLDER)
    return sorted([*done, f"{FOLDER}/: deleted"])


def without_example(text: str, name: Path) -> tuple[str, int]:
    """Return the text without its marked lines, and how many lines are gone.

    Of the blank lines before and after a block only the longer run stays, so that a formatted file
    is still formatted.

    Raises ExampleError, with the name and the line, on a marker without a partner, and on a line
    outside of markers that imports the example.
    """
    parts = _outside_markers(text, name)
    if len(parts) == 1:
        return text, 0
    kept: list[str] = []
    for part in parts:
        blank = _blank(part)
        kept += part[min(blank, _blank(kept[::-1])) if kept else blank :]
    if _blank(parts[-1]) == len(parts[-1]):  # the file ended with a block
        del kept[len(kept) - _blank(kept[::-1]) :]
    return "".join(kept), len(text.splitlines()) - len(kept)


def _outside_markers(text: str, name: Path) -> list[list[str]]:
    """Cut the lines at the marked blocks; without a block there is one part."""
    parts: list[list[str]] = [[]]
    begin = 0  # the line of the open block
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        marker = MARKER.fullmatch(line)
        if marker and (marker["edge"] == "begin") == (begin > 0):
            where = f"inside of the block of line {begin}" if begin else "without a begin before it"
            raise ExampleError(f"{name}, line {number}: `example: {marker['edge']}` {where}.")
        if marker and begin:
            parts.append([])
        if marker:
            begin = 0 if begin else number
        elif not begin:
            if name.suffix == ".py" and IMPORT.match(line):
                raise ExampleError(
                    f"{name}, line {number}: this imports the example; delete the line, or put it "
                    "between the two comments."
                )
            parts[-1].append(line)
    if begin:
        raise ExampleError(f"{name}, line {begin}: `example: begin` without an end after it.")
    return parts


def _blank(lines: list[str]) -> int:
    """Count the blank lines at the start."""
    return next((index for index, line in enumerate(lines) if line.strip()), len(lines))


def _texts(project: Path) -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(project):
        at_top = Path(folder) == project
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED
            and not re.fullmatch(r"\..*_cache", name)
            and not (at_top and name == FOLDER)
        )
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            if b"\0" in data:
                continue
            try:
                yield path, data.decode()
            except UnicodeDecodeError:
                continue


def _remove_empty_folders(folder: Path) -> None:
    while not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def main() -> None:
    """Remove the example from the project in the current folder, and say what changed."""
    try:
        done = remove_example(Path.cwd())
    except ExampleError as error:
        sys.exit(str(error))
    sys.stdout.write("\n".join(done) + "\n" + TABLES)


if __name__ == "__main__":
    main()
