"""The first two example tasks, unchanged, from curl through API, broker and worker to their containers."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.docker_daemon import ALPINE, FFMPEG, ROOT, UBUNTU, require_docker
from tests.support.standalone import Standalone, standalone
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker


def curl(server: Standalone, *words: str) -> tuple[int, dict[str, object]]:
    """Run curl as a user would; return the HTTP status and the JSON body."""
    done = subprocess.run(
        ["curl", "-s", "-m", "20", "-w", "\n%{http_code}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    require_docker(UBUNTU, ALPINE, FFMPEG)
    with standalone(tmp_path_factory.mktemp("home"), "--queue", "default:2") as running:
        yield running


def url(server: Standalone) -> str:
    return str(server.run_file["api_url"])


def ended(server: Standalone, id: str) -> dict[str, object]:
    path = f"{url(server)}/task/{id}"
    wait_until(lambda: curl(server, path)[1]["state"] in ("COMPLETED", "FAILED"), 60, 0.2)
    return curl(server, path)[1]


@pytest.mark.parametrize("media", ["text/yaml", "application/yaml", "application/x-yaml"])
def test_hello_with_the_documented_curl_command(server: Standalone, media: str) -> None:
    words = ["-X", "POST", "--data-binary", "@examples/hello.yaml", "-H", f"Content-Type: {media}"]
    status, task = curl(server, *words, f"{url(server)}/task")
    assert status == 201
    done = ended(server, str(task["id"]))
    assert (done["state"], done["result"]) == ("COMPLETED", "hello world")


def test_hello_as_json_and_by_both_paths(server: Standalone) -> None:
    body = json.dumps({"name": "say hello", "image": UBUNTU, "cmd": ["echo", "-n", "hello world"]})
    status, task = curl(server, "-d", body, "-H", "Content-Type: application/json", f"{url(server)}/task")
    assert status == 201
    done = ended(server, str(task["id"]))
    assert done["result"] == "hello world"
    assert curl(server, f"{url(server)}/tasks/{task['id']}")[1] == done


def test_an_empty_body_and_a_form_are_errors_that_say_what_to_write(server: Standalone) -> None:
    status, problem = curl(server, "-X", "POST", "-H", "Content-Type: text/yaml", f"{url(server)}/task")
    assert (status, "--data-binary @" in json.dumps(problem)) == (400, True)
    status, problem = curl(server, "--data-binary", "@examples/hello.yaml", f"{url(server)}/task")
    assert (status, "Content-Type: text/yaml" in json.dumps(problem)) == (415, True)


@contextmanager
def file_server(video: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Serve the video and record posted bodies, at the gateway of the bridge, which containers reach."""
    received: list[bytes] = []

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = video.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    client = require_docker(ALPINE, FFMPEG)
    gateway = client.api.inspect_network("bridge")["IPAM"]["Config"][0].get("Gateway", "172.17.0.1")
    httpd = ThreadingHTTPServer((gateway, 0), Files)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://{gateway}:{httpd.server_port}", received
    finally:
        httpd.shutdown()
        httpd.server_close()


def test_convert_downloads_cuts_and_uploads(server: Standalone, tmp_path: Path) -> None:
    video = tmp_path / "input.ogv"
    source = ["-f", "lavfi", "-i", "testsrc=duration=12:size=160x120:rate=10"]
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", *source, "-c:v", "libtheora", str(video)], check=True, timeout=60
    )
    text = (ROOT / "examples" / "convert.yaml").read_text()
    with file_server(video) as (url_of_files, received):
        text, replaced = re.subn(r"https?://[^\s\"\],]+", url_of_files, text)
        assert replaced == 2, "both addresses are replaced, and nothing else"
        task = server.client.submit(text.encode())
        done = ended(server, str(task["id"]))
        assert done["state"] == "COMPLETED", done["error"]
    assert [link["kind"] for link in done["links"]] == ["pre", "main", "post"]  # type: ignore[attr-defined, index]
    output = tmp_path / "output.mp4"
    (body,) = received
    output.write_bytes(body)
    probe = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(output)]
    seconds = float(subprocess.run(probe, capture_output=True, text=True, check=True, timeout=30).stdout)
    assert seconds == pytest.approx(5, abs=0.2)
    wait_until(lambda: not server.containers(), 15, 0.2)
