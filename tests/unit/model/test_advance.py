"""Decisions after the end of a link or a task."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.chain import after_link, first_open, may_begin
from engine.model.records import Link, Task
from engine.model.states import LinkState, TaskState
from tests.support.records import a_link, a_task

W, C, E, S = LinkState.WAITING, LinkState.CONFIRMED, LinkState.ENDED, LinkState.SKIPPED


def link(index: int, kind: str, state: LinkState, code: int | None = None, always: bool = False) -> Link:
    return a_link(index=index, kind=kind, state=state, exit_code=code, always=always)


def chain(*links: tuple[str, LinkState, int | None]) -> list[Link]:
    """Return the links of a run; a kind with `!` is an `always` post."""
    return [
        link(n, kind.rstrip("!"), state, code, kind.endswith("!"))
        for n, (kind, state, code) in enumerate(links)
    ]


def task(state: TaskState, **fields: Any) -> Task:
    return a_task(state=state, **fields)


def test_the_next_link_runs_while_all_end_well() -> None:
    after = after_link(chain(("pre", E, 0), ("main", W, None), ("post", W, None)))
    assert (after.next_index, after.skipped, after.failed, after.culprit) == (1, (), False, None)


def test_nothing_follows_the_last_link() -> None:
    after = after_link(chain(("pre", E, 0), ("main", E, 0)))
    assert (after.next_index, after.skipped, after.failed) == (None, (), False)


def test_after_a_failure_only_always_posts_run_and_the_others_are_skipped() -> None:
    run = chain(("pre", E, 4), ("main", W, None), ("post", W, None), ("post!", W, None))
    after = after_link(run)
    assert (after.next_index, after.skipped, after.failed) == (3, (1, 2), True)
    assert after.culprit is run[0]


def test_the_first_failure_is_the_culprit() -> None:
    run = chain(("main", E, 4), ("post!", E, 5))
    after = after_link(run)
    assert (after.next_index, after.culprit) == (None, run[0])


def test_always_is_for_posts_alone() -> None:
    assert after_link(chain(("pre", E, 1), ("main!", W, None))).skipped == (1,)


@pytest.mark.parametrize(
    ("links", "index", "may"),
    [
        ([("main", W, None)], 0, True),
        ([("main", C, None)], 0, True),
        ([("main", E, 0)], 0, False),
        ([("main", S, None)], 0, False),
        ([("main", W, None)], 1, False),
        ([("pre", E, 0), ("main", W, None)], 1, True),
        ([("pre", W, None), ("main", W, None)], 1, False),
        ([("pre", C, None), ("main", W, None)], 1, False),
        ([("pre", E, 1), ("main", W, None)], 1, False),
        ([("pre", E, 1), ("main", S, None), ("post!", W, None)], 2, True),
        ([("pre", E, 1), ("main", S, None), ("post", W, None)], 2, False),
        ([("pre", E, 1), ("main", W, None), ("post!", W, None)], 2, False),
        ([("pre", E, 1), ("main!", W, None)], 1, False),
    ],
)
def test_a_link_begins_only_after_those_before_it(
    links: list[tuple[str, LinkState, int | None]], index: int, may: bool
) -> None:
    assert may_begin(chain(*links), index) is may


def test_an_adopter_goes_on_with_the_first_open_link() -> None:
    assert first_open(chain(("pre", E, 0), ("main", C, None), ("post", W, None))) == 1
    assert first_open(chain(("pre", E, 1), ("main", S, None), ("post!", W, None))) == 2
    assert first_open(chain(("main", E, 0))) is None


kinds = st.lists(st.sampled_from(["pre"]), max_size=2).flatmap(
    lambda pre: st.lists(st.sampled_from(["post", "post!"]), max_size=3).map(
        lambda post: [*pre, "main", *post]
    )
)


@given(kinds, st.lists(st.sampled_from([0, 0, 0, 1]), min_size=6, max_size=6))
def test_every_chain_comes_to_an_end_and_what_follows_may_begin(names: list[str], codes: list[int]) -> None:
    run = chain(*((kind, W, None) for kind in names))
    index: int | None = 0
    ran = []
    while index is not None:
        assert may_begin(run, index) and first_open(run) == index
        ran.append(index)
        run[index] = link(index, run[index].kind, E, codes[index], run[index].always)
        after = after_link(run)
        for skipped in after.skipped:
            run[skipped] = link(skipped, run[skipped].kind, S, None, run[skipped].always)
        index = after.next_index
    assert ran == sorted(set(ran))
    assert all(one.state in (E, S) for one in run)
    failed = [n for n in ran if codes[n]]
    assert after.failed is bool(failed)
    if failed:
        later = range(failed[0] + 1, len(run))
        assert [n for n in later if n in ran] == [n for n in later if names[n] == "post!"]
    else:
        assert len(ran) == len(run)
