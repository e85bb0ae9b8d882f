"""The table of transitions and the names that follow from ids."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from engine.model import names
from engine.model.records import RunKey
from engine.model.states import (
    ADOPTING_NODES,
    BEATING_NODES,
    ENDED,
    GONE_NODES,
    TRANSITIONS,
    JobState,
    TaskState,
)

small = st.integers(1, 30)
runs = st.tuples(
    st.sampled_from(["i1", "i11"]),
    st.builds(RunKey, st.sampled_from(["t1", "t11"]), small, small),
    st.integers(0, 20),
)


def test_nothing_leaves_an_ended_state() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] in ENDED]
    assert {state for state in TaskState if state.ended} == ENDED


def test_every_state_is_reached_and_every_open_one_is_left() -> None:
    reached = {to for _, to in TRANSITIONS}
    assert reached == set(TaskState) - {TaskState.CREATED}
    assert {came for came, _ in TRANSITIONS} == set(TaskState) - ENDED


def test_every_open_state_can_be_cancelled() -> None:
    assert all((state, TaskState.CANCELLED) in TRANSITIONS for state in TaskState if not state.ended)


def test_every_transition_has_its_reason() -> None:
    assert all(reason for reason in TRANSITIONS.values())


def test_three_states_of_a_job_are_ends() -> None:
    assert [state for state in JobState if state.ended] == ["COMPLETED", "FAILED", "CANCELLED"]


def test_a_node_is_gone_or_has_a_beat_and_a_leaving_one_adopts_nothing() -> None:
    assert (GONE_NODES, BEATING_NODES) == (("LEFT", "LAPSED"), ("JOINING", "LIVE", "LEAVING"))
    assert ADOPTING_NODES == ("JOINING", "LIVE")


@given(runs, runs)
def test_no_name_is_used_for_two_runs(one: tuple[str, RunKey, int], other: tuple[str, RunKey, int]) -> None:
    made = names.container(*one), names.volume(*one)
    assert (one == other) == (names.container(*other) == made[0])
    assert (one == other) == (names.volume(*other) == made[1])
    assert names.container(*other) != made[1]
    # What Docker takes for a name.
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name) for name in made)


def test_labels_say_whose_a_thing_is() -> None:
    labels = names.run_labels("i1", "j1", RunKey("t1", 2, 3))
    assert labels == {
        "ferryman.installation": "i1",
        "ferryman.job": "j1",
        "ferryman.task": "t1",
        "ferryman.attempt": "2",
        "ferryman.origin": "3",
    }


def test_a_nodes_queue_is_no_name_that_a_task_may_ask_for() -> None:
    assert names.node_queue("n1") == "!n1"
