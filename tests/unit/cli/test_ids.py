"""Ids on the command line: an empty shell variable is an error with a remedy, before any server is asked."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from engine.cli.main import ferryman


@pytest.mark.parametrize("command", ["logs", "show", "cancel", "drain"])
@pytest.mark.parametrize("id", ["", "  "])
def test_an_empty_id_is_refused(command: str, id: str) -> None:
    done = CliRunner().invoke(ferryman, [command, id])
    assert done.exit_code == 2
    assert "it is empty; give an id: its first four characters are enough" in done.output
