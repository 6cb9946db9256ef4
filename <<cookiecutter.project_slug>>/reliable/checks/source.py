"""The project's source: tasks sent inside a transaction, model instances as arguments, chords.

A file is parsed only if its text names one of the calls.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reliable.checks.findings import Finding

_NAMES_A_CALL = re.compile(r"\.delay\b|apply_async|send_task|chord")
_SILENCE = re.compile(r"#\s*silence (reliable\.[EW]\d+): \S")
_SKIPPED = {"migrations", "node_modules", "site-packages", "dist-packages", "tests"}
_ONE_INSTANCE = {"get", "create", "first", "last", "latest", "earliest"}


@dataclass(frozen=True)
class Known:
    """Names of the running project: task functions (True: sent on commit), and model classes."""

    tasks: Mapping[str, bool]
    models: frozenset[str]
    atomic_requests: bool
    visibility_timeout: float


def check(folders: list[Path], known: Known) -> Iterator[Finding]:
    """Findings in every module below the folders, migrations and tests left out."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            relative = path.relative_to(folder)
            if _SKIPPED & set(relative.parts) or any(part[0] == "." for part in relative.parts):
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            if _NAMES_A_CALL.search(text):
                yield from scan(text, f"{folder.name}/{relative}", known)


def scan(text: str, name: str, known: Known) -> list[Finding]:
    """Findings in one module; a module that is no Python is Python's to complain about."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    reader = _Reader(name, known)
    reader.visit(tree)
    lines = text.splitlines()
    return [
        finding
        for finding, line in reader.found
        if finding.id not in _SILENCE.findall(lines[line - 1])
    ]


@dataclass
class _Reader(ast.NodeVisitor):
    """Walks one module, knowing whether it is inside `atomic()` and which names hold instances."""

    name: str
    known: Known
    found: list[tuple[Finding, int]] = field(default_factory=list)
    atomic: bool = False
    instances: set[str] = field(default_factory=set)
    in_model: bool = False
    atomics: set[str] = field(default_factory=set)
    chords: set[str] = field(default_factory=set)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if (node.module or "").startswith("django.db") and alias.name == "atomic":
                self.atomics.add(alias.asname or alias.name)
            if (node.module or "").split(".")[0] == "celery" and alias.name == "chord":
                self.chords.add(alias.asname or alias.name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before, self.in_model = self.in_model, node.name in self.known.models
        self.generic_visit(node)
        self.in_model = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before = self.atomic, self.instances
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in arguments]
        self.atomic = any(self._is_atomic(decorator) for decorator in node.decorator_list) or (
            self.known.atomic_requests
            and "request" in names[:2]
            and not any("non_atomic" in ast.dump(each) for each in node.decorator_list)
        )
        self.instances = {
            argument.arg
            for argument in arguments
            if argument.annotation and _last(argument.annotation) in self.known.models
        }
        if self.in_model and names[:1] == ["self"]:
            self.instances.add("self")
        for statement in node.body:
            self.visit(statement)
        self.atomic, self.instances = before

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_Lambda(self, node: ast.Lambda) -> None:
        # It runs later: after the commit, where it is on_commit's.
        before, self.atomic = self.atomic, False
        self.generic_visit(node)
        self.atomic = before

    def visit_With(self, node: ast.With) -> None:
        before = self.atomic
        self.atomic = before or any(self._is_atomic(item.context_expr) for item in node.items)
        self.generic_visit(node)
        self.atomic = before

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                holds = self._is_instance(node.value)
                (self.instances.add if holds else self.instances.discard)(target.id)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = _last(node.func)
        if isinstance(node.func, ast.Name) and called in self.chords:
            self._find("reliable.E012", node, "A chord.")
        if called == "send_task" and self.atomic:
            self._find("reliable.E010", node, "send_task() inside a transaction.")
        if called not in {"delay", "apply_async"} or not isinstance(node.func, ast.Attribute):
            return
        task = _last(node.func.value)
        if task not in self.known.tasks:
            return
        if self.atomic and not self.known.tasks[task]:
            self._find("reliable.E010", node, f"{task}.{called}() inside a transaction.")
        for value in _arguments(node, called):
            if self._is_instance(value):
                self._find("reliable.E011", node, f"{task} gets a model instance.")
        for keyword in node.keywords:
            seconds = _seconds(keyword.value) if keyword.arg in {"countdown", "eta"} else 0
            if seconds >= self.known.visibility_timeout:
                what = f"{task} is sent {seconds:g} s ahead."
                self._find("reliable.W108", node, what)

    def _find(self, rule: str, node: ast.Call, what: str) -> None:
        self.found.append((Finding(rule, f"{self.name}:{node.lineno}", what), node.lineno))

    def _is_atomic(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            node = node.func
        if isinstance(node, ast.Attribute):
            return node.attr == "atomic" and _last(node.value) == "transaction"
        return isinstance(node, ast.Name) and node.id in self.atomics

    def _is_instance(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self.instances
            case ast.Attribute(value=ast.Name(id="request"), attr="user"):
                return True
            case ast.Call(func=ast.Name(id="get_object_or_404")):
                return True
            case ast.Call(func=ast.Name(id=name)):
                return name in self.known.models
            case ast.Call(func=ast.Attribute(attr=attr) as func) if attr in _ONE_INSTANCE:
                names = {each.id for each in ast.walk(func) if isinstance(each, ast.Name)}
                managers = {each.attr for each in ast.walk(func) if isinstance(each, ast.Attribute)}
                return bool(names & self.known.models) and "objects" in managers
        return False


def _last(node: ast.expr) -> str:
    """The last name of `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _arguments(node: ast.Call, called: str) -> list[ast.expr]:
    """What the task will get."""
    if called == "delay":
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    given = [*node.args[:2], *(k.value for k in node.keywords if k.arg in {"args", "kwargs"})]
    values: list[ast.expr] = []
    for each in given:
        if isinstance(each, ast.List | ast.Tuple):
            values += each.elts
        elif isinstance(each, ast.Dict):
            values += each.values
    return values


def _seconds(node: ast.expr) -> float:
    """A constant number of seconds, or the timedelta in `now() + timedelta(days=1)`; else 0."""
    units = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and _last(each.func) == "timedelta":
            return sum(units.get(str(k.arg), 0) * _number(k.value) for k in each.keywords)
    return _number(node)


def _number(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _number(left) * _number(right)
    return 0.0
