"""Command `python -m tests.model [BOUND…] [--more] [--mutants [NAME…]] [--limit STATES] [--processes 2]`."""

from __future__ import annotations

import sys

from tests.model import command, model_mutants
from tests.model.bounds import CLEAN, MORE
from tests.model.explore import explore

MODEL = command.Model(
    program="python -m tests.model",
    clean=CLEAN,
    more=MORE,
    mutants=model_mutants.MUTANTS,
    plant=model_mutants.plant,
    explore=explore,
    # About 1.2 kB a state: the largest bound fits into 2 GB.
    limit=5_000_000,
    limit_of_a_mutant=250_000,
)

if __name__ == "__main__":
    sys.exit(command.run(MODEL))
