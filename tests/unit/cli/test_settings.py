"""`ferryman settings`: values with their origins, no password, and a hint for a mistyped variable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import ferryman
from engine.settings import OPTIONS

VARIABLES = {
    "FERRYMAN_PORT": "4000",
    "FERRYMAN_BROKER_URL": "redis://:pa55@127.0.0.1:7000/0",
    "FERRYMAN_NETWORKS": "a,b",
    "FERRYMAN_GRACE_MIN": "1",
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set VARIABLES and a data directory, and no other variable of Ferryman."""
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.delenv("FERRYMAN_TEST_SANDBOX", raising=False)
    for name, text in {**VARIABLES, "FERRYMAN_DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, text)


def shown(*words: str) -> str:
    done = CliRunner().invoke(ferryman, ["settings", *words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("environment")
def test_each_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"api_url": "http://127.0.0.1:3001"}))
    (tmp_path / "run.json").chmod(0o600)
    lines = shown().splitlines()
    assert "  FERRYMAN_PORT=4000  (from the environment)" in lines
    assert "  FERRYMAN_API_URL=http://127.0.0.1:3001  (from run.json)" in lines
    assert "  FERRYMAN_LEASE_SECONDS=5.0" in lines
    assert "  FERRYMAN_NETWORKS=a,b  (from the environment)" in lines
    assert sum(line.startswith("  FERRYMAN_") for line in lines) == len(OPTIONS)


@pytest.mark.usefixtures("environment")
def test_no_secret_of_any_setting_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRYMAN_API_TOKEN", "s3cret" * 6)
    monkeypatch.setenv("FERRYMAN_API_URL", "http://u:s3cret@127.0.0.1:3000")
    monkeypatch.setenv("FERRYMAN_DOCKER_HOST", "tcp://u:s3cret@127.0.0.1:2375")
    monkeypatch.setenv("FERRYMAN_BROKER_URL", "redis://:s3cret@127.0.0.1:1/0?virtual_host=0")
    for text in (shown(), shown("--json")):
        assert "s3cret" not in text and text.count("***") == 4


@pytest.mark.usefixtures("environment")
def test_no_password_is_shown() -> None:
    for text in (shown(), shown("--json")):
        assert "pa55" not in text and "redis://:***@127.0.0.1:7000/0" in text


@pytest.mark.usefixtures("environment")
def test_a_variable_that_is_not_a_setting_is_named_with_the_nearest_one() -> None:
    assert "FERRYMAN_GRACE_MIN is set, but is not a setting; did you mean FERRYMAN_GRACE_M" in shown()


@pytest.mark.usefixtures("environment")
def test_the_settings_are_printed_as_json() -> None:
    answer: dict[str, Any] = json.loads(shown("--json"))
    settings = {entry["name"]: entry for entry in answer["settings"]}
    assert settings.keys() == OPTIONS.keys() and answer["unknown"] == ["FERRYMAN_GRACE_MIN"]
    port = settings["port"]
    assert (port["group"], port["value"], port["origin"]) == ("api", "4000", "FERRYMAN_PORT")
    assert settings["log_level"]["origin"] == "default"
