"""Bounds: small jobs, each with a few failures, cancels and restarts; mutants are hunted in the small ones first."""

from __future__ import annotations

from tests.model.workflow.job_shapes import (
    LEAF,
    RETRIED,
    SKIPPED,
    WRONG,
    each,
    forgiven,
    job,
    parallel,
    subjob,
)
from tests.model.workflow.tree_rows import Bound

_PAIR, _ONE = parallel(LEAF, LEAF), (LEAF,)

#: What `python -m tests.model.workflow` explores; the largest last, for they are begun first.
CLEAN = (
    Bound("none", job(each(0, LEAF), LEAF), fails=1, cancels=1, restarts=1),
    Bound("wrong", job(parallel(LEAF, WRONG, LEAF), LEAF, finally_=_ONE), cancels=1, restarts=1),
    Bound("wrongout", job(LEAF, on_failure=_ONE, finally_=_ONE, wrong_output=True), cancels=1, restarts=1),
    Bound("unread", job(forgiven(LEAF), LEAF), fails=1, cancels=1, restarts=1),
    Bound("loop", job(each(2, subjob(job(_PAIR)), 1)), fails=1, restarts=1),
    Bound("parallel", job(_PAIR, LEAF), fails=1, cancels=1, kills=1, steppers=3),
    Bound("lenient", job(parallel(LEAF, LEAF, fail_fast=False), LEAF), fails=2, cancels=1, restarts=1, steppers=1),
    Bound("lenient1", job(each(3, LEAF, 1, fail_fast=False)), fails=2, cancels=1, restarts=1),
    Bound("lenient2", job(parallel(each(2, LEAF, fail_fast=False), LEAF)), fails=2, cancels=1),
    Bound("lenient3", job(parallel(WRONG, LEAF, SKIPPED, fail_fast=False), LEAF), fails=1, cancels=1, restarts=1),
    Bound("forgiven", job(parallel(forgiven(LEAF), SKIPPED, LEAF), LEAF), fails=2, cancels=1, restarts=1),
    Bound("again", job(each(2, LEAF, 1, fail_fast=False)), fails=1, cancels=1, restarts=2),
    Bound("againjob", job(subjob(job(LEAF, LEAF))), fails=1, cancels=1, restarts=2, steppers=1),
    Bound("each1", job(each(3, RETRIED, 1)), fails=2, cancels=1, restarts=1),
    Bound("subjob", job(subjob(job(LEAF, LEAF, output=True)), LEAF), fails=2, cancels=1, restarts=1),
    Bound("nested", job(parallel(each(2, LEAF, 1), LEAF)), fails=1, cancels=1, steppers=3),
    Bound("each0", job(each(3, LEAF), finally_=_ONE), fails=1, cancels=1),
    Bound("againloop", job(each(2, subjob(job(LEAF, LEAF)), 1)), fails=1, cancels=1, restarts=2, steppers=1),
    Bound("output", job(LEAF, on_failure=_ONE, finally_=_ONE, output=True), fails=2, cancels=2, restarts=1),
    Bound("twins", job(parallel(subjob(job(LEAF)), subjob(job(LEAF))), finally_=_ONE), fails=1, restarts=1),
    Bound("wide", job(each(3, _PAIR, 2)), fails=1),
    Bound("each2", job(each(3, LEAF, 2)), fails=1, cancels=1, restarts=1),
    Bound("sequence", job(LEAF, SKIPPED, RETRIED, output=True), fails=2, cancels=1, restarts=1, kills=1, steppers=3),
    Bound("deep", job(each(2, _PAIR, 1)), fails=1, cancels=1, restarts=1),
    Bound("deeper", job(parallel(parallel(_PAIR, LEAF), LEAF)), fails=1, restarts=1),
    Bound("againdeep", job(parallel(_PAIR, LEAF)), fails=1, cancels=1, restarts=2, steppers=1),
    Bound("finally", job(LEAF, _PAIR, on_failure=_ONE, finally_=_ONE), fails=2, cancels=1, restarts=1),
    Bound("subjobs", job(parallel(subjob(job(LEAF, finally_=_ONE)), LEAF)), fails=1, cancels=1, restarts=1),
)  # fmt: skip
#: The larger ones; with --more.
MORE = (
    Bound("again1", job(each(3, LEAF, 1)), fails=2, cancels=1, restarts=2),
    Bound("again3", job(parallel(LEAF, LEAF, LEAF)), fails=1, cancels=1, restarts=2, steppers=1),
    Bound("subjob3", job(subjob(job(LEAF, LEAF, output=True)), LEAF), fails=2, cancels=1, restarts=1, steppers=3),
    Bound("twins2", job(parallel(subjob(job(LEAF)), subjob(job(LEAF)))), fails=1, cancels=1, restarts=2, steppers=1),
    Bound("deep3", job(each(2, parallel(LEAF, each(1, LEAF)), 1)), fails=1, cancels=1, restarts=1),
)  # fmt: skip
