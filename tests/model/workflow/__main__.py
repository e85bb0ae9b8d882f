"""Command `python -m tests.model.workflow [BOUND…] [--more] [--mutants [NAME…]] [--story] [--processes 2]`."""

from __future__ import annotations

import sys

from tests.model import command
from tests.model.workflow import workflow_mutants
from tests.model.workflow.workflow_bounds import CLEAN, MORE
from tests.model.workflow.workflow_explore import explore

MODEL = command.Model(
    program="python -m tests.model.workflow",
    clean=CLEAN,
    more=MORE,
    mutants=workflow_mutants.MUTANTS,
    plant=workflow_mutants.plant,
    explore=explore,
    limit=2_000_000,
    limit_of_a_mutant=30_000,
)

if __name__ == "__main__":
    sys.exit(command.run(MODEL))
