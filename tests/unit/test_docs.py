"""Facts in the pages: samples, settings, paths, commands, tests, and the tables of the reference."""

from __future__ import annotations

import ast
import re
import runpy
import textwrap
from functools import cache
from pathlib import Path

import pytest

from engine.cli.main import COMMANDS
from engine.cli.settings import OF_CONTAINERS
from engine.failpoints import POINTS
from engine.jobspec.nested import LimitsSchema, MountSchema, RetrySchema
from engine.jobspec.schema import PostSchema, TaskSchema, check
from engine.jobspec.task import HostAccess
from engine.model.states import TRANSITIONS, JobState, LinkState, NodeState, TaskState
from engine.settings import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.rst", ROOT / "CHANGELOG.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
REFERENCE = ROOT / "docs/reference"
#: Variables of Ferryman that are not settings: a container sees them.
SAMPLE = re.compile(r"^\.\. code-block:: yaml\n\n((?:    .*\n|\n)+)", re.MULTILINE)
LITERAL = re.compile(r"``([^`]+)``")
LINK = re.compile(r"<([^<>\s:]+\.rst|LICENSE)>`_")
PATH = re.compile(r"(?:engine|api|tests|deploy|docs|examples)/[\w./-]*")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


pages = pytest.mark.parametrize("page", PAGES, ids=named)


def samples() -> list[tuple[str, str]]:
    return [
        (named(page), textwrap.dedent(sample))
        for page in PAGES
        for sample in SAMPLE.findall(page.read_text())
    ]


@pytest.mark.parametrize(("where", "sample"), samples())
def test_a_sample_is_a_valid_task(where: str, sample: str) -> None:
    assert check(sample.encode(), "yaml", HostAccess()).name


def test_the_samples_are_found() -> None:
    assert len(samples()) >= 4


@pages
def test_a_setting_that_is_named_exists(page: Path) -> None:
    known = {option.variable for option in OPTIONS.values()} | OF_CONTAINERS
    assert set(re.findall(r"(?<!_)FERRYMAN_[A-Z][A-Z_]*[A-Z]", page.read_text())) <= known


@pages
def test_a_path_that_is_named_exists(page: Path) -> None:
    literals = [word for text in LITERAL.findall(page.read_text()) for word in text.split()]
    paths = [
        text.partition("::")[0].rstrip("/") for text in literals if PATH.fullmatch(text.partition("::")[0])
    ]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pages
def test_a_link_leads_somewhere(page: Path) -> None:
    assert [to for to in LINK.findall(page.read_text()) if not (page.parent / to).is_file()] == []


@pages
def test_an_image_that_is_shown_is_there(page: Path) -> None:
    shown = re.findall(r"^\.\. image:: (\S+)", page.read_text(), re.MULTILINE)
    assert [path for path in shown if not (page.parent / path).is_file()] == []


@pages
def test_a_command_that_is_named_exists(page: Path) -> None:
    lines = LITERAL.findall(page.read_text())
    lines += re.findall(r"^ {4}(?:\$ )?(ferryman .*)$", page.read_text(), re.MULTILINE)
    commands = {match[1] for line in lines if (match := re.match(r"ferryman ([a-z]+)", line))}
    assert commands <= set(COMMANDS)


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pages
def test_a_test_that_is_named_as_proof_exists(page: Path) -> None:
    proofs = TEST.findall(page.read_text())
    assert [f"{path}::{name}" for path, name in proofs if name not in functions_of(path)] == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs/index.rst"
    reached = {(index.parent / to).resolve() for to in LINK.findall(index.read_text())} | {index}
    assert set(PAGES) - reached == set()


def test_the_page_of_settings_is_up_to_date() -> None:
    printed = runpy.run_path(str(ROOT / "docs/settings_page.py"))["page"]()
    assert (REFERENCE / "settings.rst").read_text() == printed, (
        "python docs/settings_page.py > docs/reference/settings.rst"
    )


def test_the_page_of_expressions_is_up_to_date() -> None:
    printed = runpy.run_path(str(ROOT / "docs/expressions_page.py"))["page"]()
    assert (REFERENCE / "expressions.rst").read_text() == printed, (
        "python docs/expressions_page.py > docs/reference/expressions.rst"
    )


def test_every_field_of_the_format_is_in_its_page() -> None:
    page = (REFERENCE / "job-file.rst").read_text()
    rows = set(re.findall(r"^   \* - ``(\w+)``", page, re.MULTILINE))
    assert rows == set(TaskSchema().fields)
    inner = {*RetrySchema().fields, *LimitsSchema().fields, *MountSchema().fields, *PostSchema().fields}
    assert {name for name in inner if not re.search(rf"\b{name}\b", page)} == set()


def test_every_path_of_the_api_is_in_its_page() -> None:
    from api.routes import ROUTES

    page = (REFERENCE / "rest.rst").read_text()
    assert [path for route in ROUTES for path in route.paths if f"``{path}``" not in page] == []


def test_every_state_and_transition_is_in_its_page() -> None:
    page = (REFERENCE / "states.rst").read_text()
    states = {*TaskState, *JobState, *LinkState, *NodeState}
    assert {state for state in states if not re.search(rf"\b{state}\b", page)} == set()
    rows = set(re.findall(r"^   \* - ([A-Z]+)\n     - ([A-Z]+)\n     - (.+)$", page, re.MULTILINE))
    assert rows == {(str(before), str(after), why) for (before, after), why in TRANSITIONS.items()}


def test_every_failpoint_is_in_the_page_of_promises() -> None:
    page = (ROOT / "docs/guarantees.rst").read_text()
    assert re.findall(r"^   \* - ``(\w+\.\w+)``", page, re.MULTILINE) == list(POINTS)


def test_the_curl_line_of_the_readme_sends_the_example_as_it_is() -> None:
    line = "curl -X POST --data-binary @examples/hello.yaml -H 'Content-Type: text/yaml' http://127.0.0.1:3000/task"
    assert f"\n    {line}\n" in (ROOT / "README.rst").read_text()
