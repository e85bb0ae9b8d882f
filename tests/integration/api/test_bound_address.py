"""Bound address: without authentication the API serves only its own host, however it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from api import create_app
from engine.errors import SettingsError
from engine.settings import Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, host: str) -> None:
    settings = Settings.from_env({}, data_dir=str(tmp_path), host=host)
    with pytest.raises(SettingsError, match="is reachable from outside and no authentication is set up"):
        create_app(settings, background=False)
