"""Settings: defaults, bounds, errors for wrong values, and the run.json of a running stand-alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import SettingsError
from engine.settings import GROUPS, OPTIONS, Option, Settings, StoreSettings, read_settings


def read(tmp_path: Path, env: dict[str, str] | None = None, **given: Any) -> Settings:
    return Settings.from_env({"HOME": str(tmp_path)} | (env or {}), **given)


def test_the_defaults_are_all_on_this_host(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings.data_dir == str(tmp_path / ".local/share/ferryman")
    assert (
        settings.store == StoreSettings(f"sqlite:///{settings.data_dir}/ferryman.db")
        and settings.store.is_sqlite
    )
    assert settings.broker.broker_url == "redis://127.0.0.1:6379/0"
    assert settings.api.host == "127.0.0.1" and "localhost" in settings.api.hosts
    assert settings.cluster.beat_seconds == settings.cluster.lease_seconds / 5
    assert settings.path == Path(settings.data_dir)


def test_the_data_directory_follows_xdg(tmp_path: Path) -> None:
    assert read(tmp_path, {"XDG_DATA_HOME": "/srv/x"}).data_dir == "/srv/x/ferryman"


def test_a_given_option_wins_over_the_environment(tmp_path: Path) -> None:
    assert read(tmp_path, {"FERRYMAN_PORT": "4000"}, port=5000).api.port == 5000
    assert read(tmp_path, {"FERRYMAN_PORT": "4000"}, port=None).api.port == 4000


def test_docker_host_falls_back_to_dockers_own_variable(tmp_path: Path) -> None:
    assert read(tmp_path, {"DOCKER_HOST": "tcp://x:2375"}).runtime.docker_host == "tcp://x:2375"
    both = {"DOCKER_HOST": "tcp://x:2375", "FERRYMAN_DOCKER_HOST": "unix:///y"}
    assert read(tmp_path, both).runtime.docker_host == "unix:///y"


@pytest.mark.parametrize("text", ["1", "true", "YES"])
def test_a_switch_can_be_on(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, {"FERRYMAN_ONE_HOST": text}).one_host


@pytest.mark.parametrize("text", ["0", "no", "False", ""])
def test_a_switch_can_be_off(tmp_path: Path, text: str) -> None:
    assert not read(tmp_path, {"FERRYMAN_ONE_HOST": text}).one_host


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "http", "a whole number"),
        ("PORT", "3.5", "a whole number"),
        ("LEASE_SECONDS", "soon", "a number"),
        ("ONE_HOST", "maybe", "0 or 1"),
        ("SANDBOX", "bridge", "must be one of: pod, slot, none"),
        ("KEEP_CAPABILITIES", "MKNOD,SYS_ADMIN", "one of: MKNOD, NET_RAW, AUDIT_WRITE, SETFCAP"),
        ("BROKER_URL", "amqp://x", "redis://"),
        ("LEASE_SECONDS", "nan", "a number"),
        ("LEASE_SECONDS", "inf", "at most"),
    ],
)
def test_an_error_names_the_variable_and_what_is_expected(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, {f"FERRYMAN_{name}": text})
    assert f"FERRYMAN_{name}" in str(caught.value) and expected in str(caught.value)


BOUNDED = [option for option in OPTIONS.values() if option.low is not None]


@pytest.mark.parametrize("option", BOUNDED, ids=lambda option: option.name)
def test_every_number_has_its_bounds(tmp_path: Path, option: Option) -> None:
    low, high, whole = option.low, option.high, option.kind == "int"
    assert low is not None
    step = 1 if whole else 0.001
    for value, word in ((low - step, "at least"), *([(high + step, "at most")] if high is not None else [])):
        text = str(int(value) if whole else value)
        with pytest.raises(SettingsError, match=f"{option.variable}=.*{word}"):
            read(tmp_path, {option.variable: text})
    text = str(int(low) if whole else low)
    assert read(tmp_path, {option.variable: text}).value(option) == low


def test_every_option_has_a_help_text_and_every_number_a_lower_bound() -> None:
    for option in OPTIONS.values():
        assert option.help, option.name
        if option.kind in ("int", "float"):
            assert option.low is not None, option.name


def test_every_time_has_its_unit_in_its_name() -> None:
    assert [name for name, option in OPTIONS.items() if option.kind == "float"] == [
        name for name in OPTIONS if name.endswith("_seconds")
    ]


def test_no_two_groups_have_an_option_of_one_name() -> None:
    names = [
        name
        for group in GROUPS.values()
        for name, field in group.__dataclass_fields__.items()
        if name not in GROUPS and field.metadata
    ]
    assert sorted(names) == sorted(OPTIONS)


def _run_file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "run.json").write_text(text)
    (data / "run.json").chmod(mode)
    return data


def test_a_running_stand_alone_is_joined(tmp_path: Path) -> None:
    running = {
        "database_url": "sqlite:////srv/f.db",
        "broker_url": "redis://:secret@127.0.0.1:7000/0",
        "api_url": "http://127.0.0.1:3001",
    }
    data = _run_file(tmp_path, json.dumps(running))
    settings = read(tmp_path, data_dir=str(data))
    assert (settings.store.database_url, settings.broker.broker_url, settings.api.api_url) == tuple(
        running.values()
    )


TOKEN = "0123456789-abcdefghijklmnop-QRSTUVWXYZ"


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({}, TOKEN),
        ({"FERRYMAN_API_URL": "http://127.0.0.1:3001"}, TOKEN),
        ({"FERRYMAN_API_URL": "http://other.example:3001"}, ""),
        ({"FERRYMAN_API_URL": "http://other.example:3001", "FERRYMAN_API_TOKEN": "x" * 32}, "x" * 32),
    ],
)
def test_the_token_of_a_stand_alone_is_for_its_own_api_only(
    tmp_path: Path, given: dict[str, str], token: str
) -> None:
    running = {"api_url": "http://127.0.0.1:3001", "api_token": TOKEN}
    data = _run_file(tmp_path, json.dumps(running))
    settings = read(tmp_path, given, data_dir=str(data))
    assert settings.api.api_token == token
    assert not token or token not in repr(settings)


@pytest.mark.parametrize("token", ["s3cret", "s3cret" * 50, "s3cret " * 6, "s3crét" * 6])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(SettingsError, match=r"FERRYMAN_API_TOKEN: expected 32 to 256") as caught:
        read(tmp_path, {"FERRYMAN_API_TOKEN": token})
    assert "s3cr" not in str(caught.value)


def test_the_environment_wins_over_a_running_stand_alone(tmp_path: Path) -> None:
    data = _run_file(tmp_path, json.dumps({"broker_url": "redis://127.0.0.1:7000/0"}))
    settings = read(tmp_path, {"FERRYMAN_BROKER_URL": "redis://127.0.0.1:7001/0"}, data_dir=str(data))
    assert settings.broker.broker_url == "redis://127.0.0.1:7001/0"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_run_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    data = _run_file(tmp_path, "{}", mode)
    with pytest.raises(SettingsError, match="readable by other users"):
        read(tmp_path, data_dir=str(data))


def test_a_run_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    data = _run_file(tmp_path, "{")
    with pytest.raises(SettingsError, match="not valid JSON"):
        read(tmp_path, data_dir=str(data))


def test_a_run_file_that_is_not_an_object_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, data_dir=str(_run_file(tmp_path, "[]"))).broker.broker_url.endswith(":6379/0")


RUNNING = {"database_url": "sqlite:////srv/f.db", "broker_url": "redis://:secret@127.0.0.1:7000/0"}


def test_the_broker_of_a_stand_alone_is_followed_to_its_new_address(tmp_path: Path) -> None:
    data = _run_file(tmp_path, json.dumps(RUNNING))
    broker = read(tmp_path, data_dir=str(data)).broker
    moved = RUNNING | {"broker_url": "redis://:new@127.0.0.1:7001/0"}
    (data / "run.json").write_text(json.dumps(moved))
    assert broker.current_url() == moved["broker_url"]
    (data / "run.json").unlink()
    assert broker.current_url() == RUNNING["broker_url"], "it is away, and may come back"


def test_a_stand_alone_that_starts_later_is_followed(tmp_path: Path) -> None:
    data = _run_file(tmp_path, "{}")
    broker = read(tmp_path, data_dir=str(data)).broker
    running = RUNNING | {"database_url": f"sqlite:///{data}/ferryman.db"}
    (data / "run.json").write_text(json.dumps(running))
    assert broker.current_url() == RUNNING["broker_url"]


@pytest.mark.parametrize("given", [{"FERRYMAN_BROKER_URL": "redis://127.0.0.1:7001/0"}, {}])
def test_a_configured_broker_and_the_broker_of_another_database_are_not_followed(
    tmp_path: Path, given: dict[str, str]
) -> None:
    data = _run_file(tmp_path, json.dumps(RUNNING))
    broker = read(tmp_path, given, data_dir=str(data)).broker
    other = {"broker_url": "redis://127.0.0.1:7002/0"}
    other["database_url"] = RUNNING["database_url"] if given else "sqlite:////srv/other.db"
    (data / "run.json").write_text(json.dumps(other))
    assert broker.current_url() == broker.broker_url


def test_a_run_file_that_others_may_read_is_not_followed(tmp_path: Path) -> None:
    data = _run_file(tmp_path, json.dumps(RUNNING))
    broker = read(tmp_path, data_dir=str(data)).broker
    (data / "run.json").chmod(0o644)
    with pytest.raises(SettingsError, match="readable by other users"):
        broker.current_url()


FOREIGN = {"FERRYMAN_BROKER_URL": "redis://:secret@broker.example:6379/0"}


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cr/et@h:1/0",
        "redis://:s3cr#et@h:1/0",
        "redis://:s3cret@h:x/0",
        "redis://:s3cret@h:1/0?foo=s3cr",
        "redis://h:1/0?password=s3cret",
        "s3cret",
    ],
)
def test_a_broker_url_that_no_library_can_use_is_refused_without_its_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(SettingsError, match="FERRYMAN_BROKER_URL=") as caught:
        read(tmp_path, {"FERRYMAN_BROKER_URL": url, "FERRYMAN_ONE_HOST": "1"})
    assert "s3cret" not in str(caught.value) and "s3cr/" not in str(caught.value)


def test_sqlite_with_a_broker_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, FOREIGN)
    assert "broker.example" in str(caught.value) and "FERRYMAN_ONE_HOST" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_sqlite_with_a_broker_elsewhere_is_accepted_if_all_runs_on_one_host(tmp_path: Path) -> None:
    assert read(tmp_path, FOREIGN | {"FERRYMAN_ONE_HOST": "1"}).one_host


def test_postgresql_with_a_broker_elsewhere_is_accepted(tmp_path: Path) -> None:
    url = {"FERRYMAN_DATABASE_URL": "postgresql+psycopg://u@db.example/f"}
    assert not read(tmp_path, FOREIGN | url).store.is_sqlite


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    variables = {"PORT": "4000", "ONE_HOST": "1", "LEASE_SECONDS": "0.7", "NETWORKS": "a,b"}
    settings = read(tmp_path, {f"FERRYMAN_{name}": text for name, text in variables.items()})
    assert settings.runtime.networks == ("a", "b")
    assert Settings.from_env(settings.environment()) == settings


def test_each_allowed_host_is_listed_once(tmp_path: Path) -> None:
    settings = read(tmp_path, {"FERRYMAN_ALLOWED_HOSTS": "a.example, localhost,,b.example"})
    assert settings.api.hosts[-2:] == ("a.example", "b.example")
    assert len(set(settings.api.hosts)) == len(settings.api.hosts)


def test_the_lists_are_split_once(tmp_path: Path) -> None:
    lists = {"FERRYMAN_NETWORKS": "a, b,,", "FERRYMAN_BIND_SOURCES": "/srv/media,/srv/out:rw"}
    settings = read(tmp_path, lists)
    assert settings.runtime.networks == ("a", "b")
    assert settings.runtime.bind_sources == ("/srv/media", "/srv/out:rw")


def test_an_option_is_replaced_in_its_group(tmp_path: Path) -> None:
    settings = read(tmp_path)
    changed = settings.replace(lease_seconds=1.0, max_crashes=2, failpoint="x")
    assert (changed.cluster.lease_seconds, changed.cluster.max_crashes, changed.failpoint) == (1.0, 2, "x")
    assert changed.replace(lease_seconds=5.0, max_crashes=5, failpoint="") == settings


def test_each_value_is_read_with_its_origin(tmp_path: Path) -> None:
    data = _run_file(tmp_path, json.dumps({"broker_url": "redis://127.0.0.1:7000/0"}))
    env = {"FERRYMAN_PORT": "4000", "DOCKER_HOST": "unix:///x", "FERRYMAN_DATA_DIR": str(data)}
    _, origins = read_settings({"HOME": str(tmp_path)} | env, host="127.0.0.2")
    assert origins == {
        "host": "command line",
        "port": "FERRYMAN_PORT",
        "data_dir": "FERRYMAN_DATA_DIR",
        "docker_host": "DOCKER_HOST",
        "broker_url": "run.json",
    }


def test_the_private_places_are_the_data_directory_and_the_sqlite_file_wherever_it_is(tmp_path: Path) -> None:
    settings = read(tmp_path, {"FERRYMAN_DATABASE_URL": "sqlite:////srv/own/f.db"})
    files = ("/srv/own/f.db", "/srv/own/f.db-wal", "/srv/own/f.db-shm")
    assert settings.private_places == (settings.data_dir, *files)
    settings = read(
        tmp_path,
        {"FERRYMAN_DATABASE_URL": "postgresql+psycopg://u:p@h/d", "FERRYMAN_BROKER_URL": "redis://h"},
    )
    assert settings.private_places == (settings.data_dir,)
