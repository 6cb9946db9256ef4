"""The README of a generated project is true: a reader types what it says, and it happens.

The reader has a fresh project without the example, and runs and pastes its blocks of code in their
order. `make dev` goes on in its terminal until `make check`.
"""

import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest
from conftest import texts
from terminal import environment, run, sources

# Runs until it is stopped: what its output says when it is ready.
READY = {
    "make dev": r"the site is at http",
    "make services": r"ready in",
    "make fg P=worker-mail": r" ready\.$",
}

# The README runs all of it, which takes minutes: here the team's tests stand for the rest.
NARROWED = {"make test-all": "make test-all T=tests"}

# The worker of the queue that the README declares.
WORKER_READY = r"^worker-images +\| .* ready\.$"

# The worker that rests while the README runs it in the foreground.
MAIL_READY = r"^worker-mail +\| .* ready\.$"

# What looks like a path, between backticks.
PATHS = re.compile(
    r"`(?!/|\.\.\./)([\w.-]*/[\w./-]*|[\w.-]*\.(?:md|py|ya?ml|toml|txt|example|env)|\.\w+)`"
)
# What `make` creates, and where the team may put tasks of its own.
MADE = {
    *(".env", ".venv", "deploy/.venv", "deploy/.vault/production"),
    *("hooks/", "before_STEP.yml", "deploy/hooks/before_migrate.yml"),
}

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a block of Python imports at its top.
IMPORTS = r"\A((?:(?:from|import) .*\n)*)"

# Seconds. The first `make dev` installs.
DEADLINE = 180.0


def blocks(project: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each block of code, in the order of the README."""
    return FENCED.findall((project / "README.md").read_text())


def with_imports(text: str, imports: str) -> str:
    """Return the module with imports of the project's own, in a section below the others."""
    last = list(re.finditer(r"^(?:from|import) .*\n", text, re.MULTILINE))[-1].end()
    return f"{text[:last]}\n{imports}{text[last:]}" if imports else text


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE:g} s; last saw: {what()}"
        time.sleep(0.1)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def log_in(netloc: str, username: str, password: str) -> tuple[int, str]:
    """Log in to the admin pages; return the status of the answer and where it leads."""
    with closing(HTTPConnection(netloc, timeout=30)) as site:
        site.request("GET", "/admin/login/")
        answer = site.getresponse()
        token = found(r"csrftoken=(\w+)", answer.headers["Set-Cookie"])
        answer.read()
        fields = {"username": username, "password": password, "csrfmiddlewaretoken": token}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={token}",
        }
        site.request("POST", "/admin/login/?next=/admin/", urlencode(fields), headers)
        answer = site.getresponse()
        return answer.status, answer.headers.get("Location", "")


class Terminal:
    """A command that goes on, as in a terminal of its own."""

    def __init__(self, project: Path, command: str, log: Path, marker: str) -> None:
        self.log = log
        self.marker = marker
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command.split(),
                cwd=project,
                env=environment(README_READER=marker, PYTHONUNBUFFERED="1"),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, times: int = 1) -> None:
        def said() -> bool:
            return self.count(pattern) >= times or self.process.poll() is not None

        wait_until(said, lambda: self.output)
        assert self.process.poll() is None, self.output

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.output, re.MULTILINE))

    def stop(self) -> int:
        """Send TERM to the program that `make` runs; return the exit status of `make`."""
        [program] = psutil.Process(self.process.pid).children()
        program.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=DEADLINE)

    def left(self) -> list[psutil.Process]:
        """Return the processes that this command started and that live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("README_READER") == self.marker:
                    found.append(process)
        return found

    def kill(self) -> None:
        for process in self.left():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()


class Reader:
    """Runs and pastes what the README shows; remembers what happened."""

    def __init__(self, project: Path, logs: Path) -> None:
        self.project = project
        self.logs = logs
        self.terminals: dict[str, Terminal] = {}
        self.shown = blocks(project)
        self.before = sources(project)
        self.logged_in = (0, "")
        self.returned = False
        self.statuses: dict[str, int] = {}
        self.outputs: dict[str, str] = {}
        self.left: dict[str, list[psutil.Process]] = {}

    def read(self, language: str, text: str) -> None:
        if language != "sh":
            self.paste(language, text)
            return
        for command in text.splitlines():
            if command in READY:
                self.start(command)
            else:
                if command == "make check":
                    self.stop("make dev")
                typed = NARROWED.get(command, command)
                self.statuses[command], self.outputs[command] = run(self.project, *typed.split())
            if command == "make superuser":
                self.logged_in = log_in(
                    found(r"the site is at http://(\S+)/", self.terminals["make dev"].output),
                    found(r"administrator (\S+), password", self.outputs[command]),
                    found(r"password: (\S+)", self.outputs[command]),
                )

    def paste(self, language: str, text: str) -> None:
        """Paste the block into the file that its first line names, behind what stands there.

        Its imports go to the others, as everybody's do.
        """
        first, code = text.split("\n", maxsplit=1)
        path = self.project / first.removeprefix("# ")
        dev = self.terminals["make dev"]
        reloads = dev.count(": reloading$")
        if path.exists() and language == "python":
            imports = found(IMPORTS, code)
            code = code.removeprefix(imports).lstrip("\n")
            saved = f"{with_imports(path.read_text(), imports)}\n\n{code}"
        elif path.exists():
            # The block of YAML begins with a blank line of its own.
            saved = f"{path.read_text()}{code}"
        else:
            saved = code.lstrip("\n")
        # In one step, as an editor saves: a process that starts just now must not read half a file.
        unsaved = path.with_name(f".{path.name}.unsaved")
        unsaved.write_text(saved)
        unsaved.replace(path)
        dev.wait_for(": reloading$", reloads + 1)
        if path.name == "queues.yml":
            dev.wait_for(WORKER_READY)

    def start(self, command: str) -> None:
        """Start what goes on; all but `make dev` has shown enough when it is ready."""
        dev = self.terminals.get("make dev")
        starts = dev.count(MAIL_READY) if dev else 0
        log = self.logs / (command.replace(" ", "-") + ".log")
        terminal = Terminal(self.project, command, log, marker=uuid.uuid4().hex)
        self.terminals[command] = terminal
        terminal.wait_for(READY[command])
        if dev:
            self.stop(command)
            dev.wait_for(MAIL_READY, starts + 1)
            self.returned = True

    def stop(self, command: str) -> None:
        terminal = self.terminals[command]
        self.statuses[command] = terminal.stop()
        self.outputs[command] = terminal.output
        self.left[command] = terminal.left()


@pytest.fixture(scope="module")
def reader(plain_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Return a reader who has read to the end."""
    folder = tmp_path_factory.mktemp("reader")
    reader = Reader(Path(shutil.copytree(plain_project, folder / plain_project.name)), folder)
    try:
        for language, text in reader.shown:
            reader.read(language, text)
        yield reader
    finally:
        for terminal in reader.terminals.values():
            terminal.kill()


def test_every_command_of_the_readme_succeeds(reader: Reader) -> None:
    shown = [line for language, text in reader.shown if language == "sh" for line in text.split()]
    assert shown.count("make") == len(reader.statuses)
    failed = {
        command: reader.outputs[command] for command, status in reader.statuses.items() if status
    }
    assert failed == {}


def test_the_administrator_can_log_in_to_the_running_site(reader: Reader) -> None:
    assert reader.logged_in == (302, "/admin/")


def test_make_has_written_the_settings_with_a_random_secret_key(
    reader: Reader, plain_project: Path
) -> None:
    example = (plain_project / ".env.example").read_text().splitlines()
    written = (reader.project / ".env").read_text().splitlines()
    [secret] = set(written) - set(example)
    assert re.fullmatch(r"SECRET_KEY=[\w-]{50,}", secret)
    assert len(written) == len(example)


def test_a_pasted_task_a_service_and_a_queue_are_running_without_a_restart(reader: Reader) -> None:
    output = reader.outputs["make dev"]
    for name in ("accounts/tasks.py", "accounts/services.py", "config/queues.yml"):
        assert f"{name} saved: reloading" in output
    assert re.search(WORKER_READY, output, re.MULTILINE)
    assert "not reloaded" not in output
    assert "Traceback" not in output


def test_a_pasted_test_passes_with_a_real_worker(reader: Reader) -> None:
    printed = reader.outputs["make test T=tests/test_welcome.py"]
    assert re.search(r"^=+ 2 passed in [0-9.]+s =+$", printed, re.MULTILINE), printed


def test_the_pasted_code_is_formatted_linted_and_typed_as_it_stands(reader: Reader) -> None:
    assert reader.statuses["make check"] == 0, reader.outputs["make check"]
    changed = {
        name for name, entry in sources(reader.project).items() if entry != reader.before.get(name)
    }
    pasted = {text.split("\n")[0][2:] for language, text in reader.shown if language != "sh"}
    assert changed == pasted


def test_what_goes_on_stops_with_0_and_leaves_no_process(reader: Reader) -> None:
    assert set(reader.terminals) == {"make dev", "make fg P=worker-mail"}
    for command in reader.terminals:
        assert reader.statuses[command] == 0, reader.outputs[command]
        assert reader.left[command] == []


def test_the_worker_of_make_dev_is_back_after_the_one_in_the_foreground(reader: Reader) -> None:
    assert reader.returned


def test_the_readme_with_the_example_adds_only_how_to_remove_it(
    project: Path, plain_project: Path
) -> None:
    added = [block for block in blocks(project) if block not in blocks(plain_project)]
    assert added == [("sh", "make remove-example\n")]
    assert [block for block in blocks(project) if block not in added] == blocks(plain_project)


def test_make_remove_example_leaves_a_project_made_without_it(
    project: Path, plain_project: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(project, tmp_path / project.name))
    status, printed = run(folder, "make", "remove-example")
    assert status == 0, printed
    assert sources(folder) == sources(plain_project)


@pytest.mark.parametrize("which", ["project", "plain_project"])
def test_every_file_that_a_page_names_is_there(request: pytest.FixtureRequest, which: str) -> None:
    folder: Path = request.getfixturevalue(which)
    named = [
        (page, name)
        for page, text in texts(folder).items()
        if page.endswith(".md")
        for name in PATHS.findall(FENCED.sub("", text)) + re.findall(r"\]\((?!\w+:)([^)#]+)", text)
    ]
    assert len(named) > 10
    missing = [
        f"{page}: {name}"
        for page, name in named
        if name not in MADE
        and not (folder / name).exists()
        and not ((folder / page).parent / name).exists()
    ]
    assert not missing, "\n".join(missing)
