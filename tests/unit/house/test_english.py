"""Rules of the English in docstrings, and of the documents that code and pages may cite."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("engine", "api", "deploy", "docs", "tests")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TEXTS = sorted({*MODULES, *(ROOT / "docs").rglob("*.rst"), ROOT / "README.rst"} - {Path(__file__).resolve()})

#: Words that open no docstring: pronouns, relative words, prepositions, and what only sounds like a noun.
OPENS_NOTHING = frozenset(
    """
    after all any as at because before by each every everything for from here his how if in is are was it its
    like my no none not nothing of on only our same since so some something that their them there these
    they this those three to two until what whatever when where whether while who whose why with without
    true false
    """.split()  # noqa: SIM905 - sixty quoted words would be harder to read
)
#: Articles and numerals: they open the noun phrase of a class, a module or a property.
OPENS_A_NOUN = frozenset(("a", "an", "the", "one"))
#: Imperatives that end as a third person or a gerund does.
IMPERATIVES = frozenset(
    ("access", "address", "bring", "cross", "discuss", "dismiss", "express", "focus", "guess", "miss", "pass")
) | {"press", "process", "string"}
PROPERTIES = ("property", "cached_property", "functools.cached_property")
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

#: Documents that are not in the repository, and references to their sections by number.
ABSENT_DOCUMENTS = re.compile(
    r"\b(?:DESIGN|FINDINGS|HOUSE|REVIEW|WORKFLOWS)\b|\(?\b(?:protocol|promise|Promise) \d"
)


def opens_well(word: str, *, is_function: bool) -> bool:
    """Return whether a docstring may open with this word: an imperative for a function, else a noun."""
    lower = word.lower()
    if lower in OPENS_NOTHING or (is_function and lower in OPENS_A_NOUN):
        return False
    if not is_function or lower in IMPERATIVES:
        return True
    is_inflected = len(word) > 3 and lower.endswith(("s", "ing"))
    return word[:1].isupper() and not is_inflected


def _definitions(path: Path) -> Iterator[tuple[Definition, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Definition) and (text := ast.get_docstring(node)):
            yield node, text


def _is_function(node: Definition) -> bool:
    """Return whether the node is a function, which a property is not: it reads as a noun."""
    if isinstance(node, ast.Module | ast.ClassDef):
        return False
    return not any(ast.unparse(decorator) in PROPERTIES for decorator in node.decorator_list)


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_docstrings_open_with_an_imperative_or_a_noun() -> None:
    faults = [
        f"{_named(path)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"
        for path in MODULES
        for node, text in _definitions(path)
        if not opens_well(text.split()[0].strip(",.:;`\"'"), is_function=_is_function(node))
    ]
    assert faults == []


@pytest.mark.parametrize("word", ["Return", "Pass", "Bring", "Set", "Refuse"])
def test_an_imperative_opens_a_function(word: str) -> None:
    assert opens_well(word, is_function=True)


@pytest.mark.parametrize("word", ["What", "Whether", "The", "A", "Returns", "Building", "it", "True"])
def test_a_pronoun_an_article_or_a_third_person_opens_no_function(word: str) -> None:
    assert not opens_well(word, is_function=True)


def test_only_a_noun_opens_a_class() -> None:
    assert opens_well("Settings", is_function=False) and opens_well("One", is_function=False)
    assert not opens_well("What", is_function=False)


def test_no_document_outside_the_repository_is_cited() -> None:
    citations = [
        f"{_named(path)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ABSENT_DOCUMENTS.search(line)
    ]
    assert citations == []
