"""Registry on 127.0.0.1 that Docker really pulls from: it serves an image, or refuses as the test wants."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer(text: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("content")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return packed.getvalue()


class Registry:
    """Registry with as much of the HTTP API as a pull needs."""

    def __init__(self, tree: bytes | None = None) -> None:
        """Take as `tree` the image's files as a tar; None: an image that cannot run."""
        #: Status of answers for manifests: 200, or an error.
        self.status = 200
        #: Layers are not sent until this is set.
        self.gate = threading.Event()
        self.gate.set()
        #: Body of refusals; empty: a registry's own words.
        self.page = b""
        self.manifests = 0
        #: Number of requests for layers.
        self.layers = 0
        plain = tree or _layer(b"a pulled file\n" * 1000)
        layer = gzip.compress(plain, compresslevel=1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/content"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
            }
        ).encode()
        self.blobs = {_digest(config): config, _digest(layer): layer}
        self.layer = _digest(layer)
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _about("application/vnd.docker.container.image.v1+json", config),
                "layers": [_about("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
            }
        ).encode()
        self.port = 0

    @property
    def image(self) -> str:
        """Name of the image for a pull."""
        return f"127.0.0.1:{self.port}/ferryman-test/thing:1"

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for a path."""
        if path == "/v2/":
            return self._refusal() if self.status == 401 else (200, {}, b"{}")
        if "/manifests/" in path:
            self.manifests += 1
            headers = {"Content-Type": _MANIFEST, "Docker-Content-Digest": _digest(self.manifest)}
            return (200, headers, self.manifest) if self.status == 200 else self._refusal()
        digest = path.rpartition("/")[2]
        if digest == self.layer:
            self.layers += 1
            self.gate.wait(30)
        return (
            (200, {"Docker-Content-Digest": digest}, self.blobs[digest])
            if digest in self.blobs
            else (404, {}, b"")
        )

    def _refusal(self) -> tuple[int, dict[str, str], bytes]:
        code = {404: "MANIFEST_UNKNOWN", 401: "UNAUTHORIZED"}.get(self.status, "UNKNOWN")
        message = {404: "manifest unknown", 401: "authentication required"}.get(self.status, "out of order")
        headers = {"WWW-Authenticate": 'Basic realm="test"'} if self.status == 401 else {}
        return (
            self.status,
            headers,
            self.page or json.dumps({"errors": [{"code": code, "message": message}]}).encode(),
        )


def _about(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(data), "digest": _digest(data)}


@contextmanager
def running_registry(tree: bytes | None = None) -> Iterator[Registry]:
    """Run a registry on a free port until the end of the block."""
    registry = Registry(tree)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            status, headers, body = registry.answer(self.path)
            self.send_response(status)
            for name, value in {"Docker-Distribution-Api-Version": "registry/2.0", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing; requests are counted instead."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
