"""Client on the network: broken streams, busy servers, servers that are not Ferryman."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engine.client import ApiError, ApiUnavailable, Client

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Run an HTTP server on a free port that calls `answer` for every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)


def send(to: http.server.BaseHTTPRequestHandler, status: int, kind: str, text: str, **headers: str) -> None:
    to.send_response(status)
    to.send_header("Content-Type", kind)
    for name, value in headers.items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()
    to.wfile.write(text.encode())


def event(id: int) -> str:
    return f'id: {id}\nevent: event\ndata: {{"cursor": "{id}"}}\n\n'


def test_a_redirect_is_no_answer_of_the_api() -> None:
    with serving(lambda to: send(to, 308, "text/html", "<p>elsewhere", Location="/x")) as url:
        with pytest.raises(ApiUnavailable, match="HTTP 308 from a server that is not Ferryman"):
            list(Client(url).log_text("x"))
        with pytest.raises(ApiUnavailable, match="HTTP 308 from a server that is not Ferryman"):
            Client(url).jobs()


def test_a_broken_stream_resumes_after_the_last_event() -> None:
    last_ids: list[str | None] = []

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        last_ids.append(to.headers.get("Last-Event-ID"))
        half = "id: 3\nevent: event\ndata: {"
        rest = ": keep-alive\n\n" + event(3) + "event: end\ndata: {}\n\n" + event(4)
        send(to, 200, "text/event-stream", event(1) + event(2) + half if len(last_ids) == 1 else rest)

    with serving(answer) as url:
        seen = [event["cursor"] for event in Client(url).events(task="a")]
    assert seen == ["1", "2", "3"], "each once, and nothing after the end"
    assert last_ids == [None, "2"]


def test_a_busy_server_is_asked_again_after_its_retry_after() -> None:
    count = 0

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal count
        count += 1
        if count == 1:
            send(to, 503, "application/problem+json", '{"title": "busy"}', Retry_After="1")
        else:
            send(to, 200, "text/event-stream", event(1) + "event: end\ndata: {}\n\n")

    with serving(answer) as url:
        assert len(list(Client(url).events(task="a"))) == 1


def test_an_error_has_the_problem() -> None:
    body = '{"title": "no", "detail": "there is no task", "errors": [{"path": "image", "message": "it is missing"}]}'
    with serving(lambda to: send(to, 404, "application/problem+json", body)) as url:
        with pytest.raises(ApiError, match="there is no task") as caught:
            Client(url).task("a")
        with pytest.raises(ApiError):
            next(Client(url).events(task="a"))
    assert caught.value.status == 404 and caught.value.errors[0]["path"] == "image"


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", "<html>another program</html>"),
        (200, "application/json", "{}"),
        (302, "text/html", ""),
    ],
)
def test_another_program_on_the_port_is_not_mistaken_for_ferryman(status: int, kind: str, body: str) -> None:
    with (
        serving(lambda to: send(to, status, kind, body)) as url,
        pytest.raises(ApiUnavailable, match="not Ferryman"),
    ):
        Client(url).submit(b"image: x")


def test_a_silent_server_times_out() -> None:
    hold = threading.Event()
    with serving(lambda to: hold.wait(10) and None) as url:
        with pytest.raises(ApiUnavailable, match="timed out"):
            Client(url, timeout_seconds=0.3).health()
        hold.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://x", "http://127.0.0.1:port", "http://"])
def test_an_address_without_an_api_is_an_error_with_a_remedy(url: str) -> None:
    with pytest.raises(ApiUnavailable, match="ferryman standalone"):
        Client(url, timeout_seconds=2).health()
