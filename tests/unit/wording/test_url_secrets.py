"""Passwords and tokens in the URLs of a text: struck out wherever they stand."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.client import ApiUnavailable
from engine.errors import BrokerUnavailable
from engine.telemetry.logging import configure
from engine.wording.url_secrets import without_password

SHOWN = {
    "redis://:pa55@h:1/0": "redis://:***@h:1/0",
    "postgresql+psycopg://u:p%40ss@h/d": "postgresql+psycopg://u:***@h/d",
    "redis://h:1/0": "redis://h:1/0",
    "postgresql://u@h/d": "postgresql://u@h/d",
    "redis://:pa@ss@h:1/0": "redis://:***@h:1/0",
    "redis://:p/a@h:1/0": "redis://:***@h:1/0",
    "redis://u:1/2@h:1/0": "redis://u:***@h:1/0",
    "redis://:p a@h:1/0": "redis://:***@h:1/0",
    "http://u:p@[::1]:80/x": "http://u:***@[::1]:80/x",
    "http://[::1]:80/x": "http://[::1]:80/x",
    "redis://h:1/0?password=a@b&x=y": "redis://h:1/0?password=***&x=y",
    "redis://u:p@h:1/0?password=q": "redis://u:***@h:1/0?password=***",
    "redis://h?pass%77ord=q": "redis://h?pass%77ord=***",
    "https://h/x?access_token=q#id_token=r": "https://h/x?access_token=***#id_token=***",
    "postgresql://h/d?sslmode=require&SSLPassword=q": "postgresql://h/d?sslmode=require&SSLPassword=***",
    "redis://h:1/0?client_name=a@b": "redis://h:1/0?client_name=a@b",
    "redis://h:1/0: refused, write to a@b": "redis://h:1/0: refused, write to a@b",
    "from redis://:a@h to postgres://u:b@g/d, then": "from redis://:***@h to postgres://u:***@g/d, then",
    "a: b@c": "a: b@c",
}


@pytest.mark.parametrize(("text", "shown"), SHOWN.items(), ids=SHOWN.keys())
def test_secrets_are_struck_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert without_password(text) == shown


_SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&;#"), min_size=6)


@given(
    _SECRETS, st.sampled_from(["redis://:{}@h:1/0", "x redis://u:{}@h:1/0?a=b y", "http://h/p?token={}&a=b"])
)
def test_no_secret_is_shown_whatever_its_characters(secret: str, url: str) -> None:
    secret = f"S3CR{secret}ET".replace("://", "//")
    assert secret not in without_password(url.replace("{}", secret))


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "a://", "@", "a://u:x", "?a=b", "a://?", " ", "a://u:1/?", "&"],
    ids=lambda piece: piece,
)
def test_the_cost_grows_with_the_length_only(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece)) + "a://u:b@c"
        began = time.process_time()
        without_password(text)
        return time.process_time() - began

    # A cost that grows by the square would be 16 times as high.
    assert min(seconds(200_000) for _ in range(3)) < 8 * min(seconds(50_000) for _ in range(3)) + 0.02


def test_no_error_shows_a_password() -> None:
    for error in (BrokerUnavailable, lambda text: ApiUnavailable("http://u:s3cret@h", text)):
        words = str(error("redis://:s3cret@h:1/0 and redis://h?password=s3cret"))
        assert "s3cret" not in words and "redis://:***@h:1/0" in words


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_logging")
def test_no_line_of_the_log_shows_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    try:
        raise RuntimeError("no answer from redis://:s3cret@h:1/0")
    except RuntimeError:
        logging.getLogger("library").exception("failed: %s", "postgresql://u@h/d?password=s3cret")
    printed = capsys.readouterr().err
    assert "s3cret" not in printed and printed.count("***") == 3, (
        "the line, the error, and its place in the source"
    )
