"""Rules of the code: sizes, names, imports, failpoints, environment variables, names in the pages."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engine.failpoints import POINTS

ROOT = Path(__file__).resolve().parents[3]
CODE = sorted(path for room in ("engine", "api") for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MIGRATIONS = ROOT / "engine/store/migrations"
ROOMS = sorted(path for path in CODE if path.name == "__init__.py" and MIGRATIONS not in path.parents)
#: File names that tell nothing about the content.
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}
FILE_LINES, FUNCTION_LINES = 400, 60


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_modules_and_rooms_are_found() -> None:
    assert len(CODE) > 80 and len(ROOMS) >= 12


def test_no_file_is_too_long() -> None:
    assert [_named(p) for p in CODE if len(p.read_text().splitlines()) > FILE_LINES] == []


def test_no_function_is_too_long() -> None:
    long = []
    for path in CODE:
        if MIGRATIONS in path.parents:
            continue  # a migration is a list of tables
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{_named(path)}:{node.name}: {lines}")
    assert long == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: _named(path.parent))
def test_every_room_has_a_describing_paragraph(room: Path) -> None:
    paragraph = ast.get_docstring(ast.parse(room.read_text()))
    assert paragraph and len(paragraph) > 40


def test_every_module_has_a_docstring() -> None:
    assert [_named(p) for p in CODE if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_no_file_has_a_meaningless_name() -> None:
    assert [_named(p) for p in [*CODE, *TESTS] if p.stem in NAMELESS or p.parent.name in NAMELESS] == []


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b0 broken", done.stdout), done.stdout[-3000:]


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("api", ["docker", "alembic", "engine.worker", "engine.runtime.docker"]),
        ("engine.reconcile.lanes", ["docker", "engine.worker", "engine.runtime.docker"]),
        ("engine.jobspec.schema, engine.model.chain", ["celery", "docker", "sqlalchemy", "flask"]),
        ("engine.worker.bootstrap", ["alembic", "marshmallow", "flask"]),
        ("engine.cli.main", ["docker", "celery", "sqlalchemy", "flask"]),
    ],
)
def test_importing_a_room_does_not_load(modules: str, absent: list[str]) -> None:
    code = f"import sys, {modules}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


def _called_points() -> list[str]:
    points = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.hit":
                assert len(node.args) == 1 and isinstance(node.args[0], ast.Constant), _named(path)
                points.append(str(node.args[0].value))
    return points


def test_the_failpoints_in_the_code_are_those_in_the_list() -> None:
    assert set(_called_points()) == set(POINTS)
    assert len(set(POINTS)) == len(POINTS)


#: Modules outside engine.settings that read a variable of Ferryman: the failpoints must not wait for the settings, and
#: the stand-alone brings a broker of its own unless the variable itself is set.
READERS = {"engine/failpoints.py", "engine/standalone/broker.py"}


def test_settings_alone_read_the_variables_of_ferryman() -> None:
    reading = [p for p in CODE if re.search(r"""environ(\.get\(|\[)["']FERRYMAN_""", p.read_text())]
    assert {_named(path) for path in reading} == READERS


#: The verbs, the flusher and the store: every other room changes rows by calling a verb.
WRITERS = ("engine/lifecycle/", "engine/dispatch/flusher.py", "engine/store/")


def test_rows_change_through_verbs_only() -> None:
    writing = []
    for path in CODE:
        if _named(path).startswith(WRITERS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.search(r"\bdb\.begin$", ast.unparse(node)):
                writing.append(f"{_named(path)}:{node.lineno}")
    assert writing == []


def test_no_error_is_dropped_without_a_reason() -> None:
    """Refuse a bare `except`, and a handler that only passes unless a comment says why."""
    bare = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                is_empty = all(isinstance(line, ast.Pass) for line in node.body)
                if node.type is None or (is_empty and not _says_why(path, node)):
                    bare.append(f"{_named(path)}:{node.lineno}")
    assert bare == []


def _says_why(path: Path, node: ast.ExceptHandler) -> bool:
    lines = path.read_text().splitlines()[node.lineno - 1 : node.end_lineno]
    return any("#" in line for line in lines)


#: Modules of engine/lifecycle that verbs are made of; and append_log, which writes no event and asks no node.
PARTS = {
    "append_log",
    "assignment",
    "crashes",
    "end_task",
    "installation",
    "locks",
    "next_link",
    "propagate",
    "task_events",
}
VERB_MODULES = [
    p.stem for p in CODE if p.parent == ROOT / "engine/lifecycle" and p.stem not in {*PARTS, "__init__"}
]


@pytest.mark.parametrize("module", VERB_MODULES)
def test_every_verb_takes_the_installation_and_the_caller_first(module: str) -> None:
    verbs = [
        verb
        for name, verb in inspect.getmembers(imported(f"engine.lifecycle.{module}"), inspect.isfunction)
        if verb.__module__ == f"engine.lifecycle.{module}" and not name.startswith("_")
    ]
    assert verbs
    for verb in verbs:
        assert list(inspect.signature(verb).parameters)[:2] == ["installation", "caller"], verb


WALK = ROOT / "docs/lifecycle.rst"
GLOSSARY = ROOT / "docs/glossary.rst"


def dotted_names(page: Path) -> list[str]:
    """Return the modules, classes and functions that a page names, each once."""
    return sorted(set(re.findall(r"``((?:engine|api)\.[\w.]+)``", page.read_text())))


NAMES = dotted_names(WALK)


def test_the_walk_has_its_nine_steps() -> None:
    first_table = WALK.read_text().split("The three ways out of run_link")[0]
    steps = re.findall(r"^   \* - (\d)\n     - ``([\w.]+)``", first_table, re.MULTILINE)
    assert [number for number, _ in steps] == list("123456789")
    assert {name for _, name in steps} <= set(NAMES)
    assert len(NAMES) > 30


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_walk_is_in_the_code(name: str) -> None:
    assert imported(name) is not None


@pytest.mark.parametrize("name", dotted_names(GLOSSARY))
def test_every_module_of_the_glossary_is_in_the_code(name: str) -> None:
    assert isinstance(imported(name), ModuleType)


def test_the_glossary_names_modules() -> None:
    assert len(dotted_names(GLOSSARY)) > 40


def imported(name: str) -> object:
    """Import the object of a dotted name: the longest part that is a module, then its attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            target: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            target = getattr(target, part)
        return target
    raise ModuleNotFoundError(name)
