"""Client of one Docker daemon: the address, the time-outs, and errors as ErrorAnswer or RuntimeUnavailable."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env, parse_host

from engine.errors import ErrorAnswer, RuntimeUnavailable
from engine.runtime.docker import messages
from engine.runtime.docker.fast_client import FastClient
from engine.runtime.docker.http import Exchange, RestartDetector, open_exchange
from engine.settings import private
from engine.wording.url_secrets import without_password

#: Connections that the library keeps open for rare calls.
POOL = 8


class Client:
    """Client of a daemon, connected to on the first call. Shared by all threads of a process."""

    def __init__(self, docker_host: str = "", timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._docker_host = docker_host
        self._api: FastClient | None = None
        self._address = ""
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    @property
    def api(self) -> FastClient:
        """The docker library's low-level client, with the newest API version that both sides know."""
        with self._lock:
            if self._api is None:
                self._api = self._open()
            return self._api

    @property
    def address(self) -> str:
        """The daemon's address, for people."""
        address = self._address.replace("http+unix:", "unix:") or self._docker_host or "the default socket"
        return without_password(address)

    def exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        whole: bool = False,
    ) -> Exchange:
        """Send a request on a socket of its own; a `whole` answer is not cut short. Raises RuntimeUnavailable."""
        version = self.api.api_version
        query = f"?{urlencode(params)}" if params else ""
        line = (method, f"/v{version}{path}{query}", "HTTP/1.1" if whole else "HTTP/1.0")
        return open_exchange(self._address, self._tls, line, headers or {}, self.timeout)

    def restart_detector(self) -> RestartDetector:
        """Open a connection that shows whether the daemon has ended since. Raises RuntimeUnavailable."""
        version = self.api.api_version
        return RestartDetector(self._address, self._tls, f"/v{version}/_ping", self.timeout)

    def answers(self) -> bool:
        """Return True if the daemon answers at all, with whatever."""
        try:
            with self.exchange("GET", "/_ping") as ping:
                return ping.read_head(self.timeout)
        except RuntimeUnavailable:
            return False

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def _open(self) -> FastClient:
        with translated(self._docker_host or "its default address"):
            base_url, tls = _find_daemon(self._docker_host)
            if base_url.startswith("ssh://"):
                raise RuntimeUnavailable(
                    f"{base_url}: Docker over ssh is not supported; forward its socket (ssh -L /tmp/d.sock:"
                    "/var/run/docker.sock HOST) and set FERRYMAN_DOCKER_HOST=unix:///tmp/d.sock"
                )
            self._address = str(parse_host(base_url, tls=bool(tls)))
            _refuse_foreign_socket(self._address)
            self._tls = _ssl_context(tls)
            return FastClient(
                self._address,
                self._tls,
                self.timeout,
                base_url=base_url,
                tls=tls or False,
                version="auto",
                num_pools=POOL,
                max_pool_size=POOL,
            )


def _refuse_foreign_socket(address: str) -> None:
    """Refuse a socket of another account, which would be sent the variables and files of every task."""
    path = Path("/" + address.removeprefix("http+unix://").lstrip("/"))
    if not address.startswith("http+unix://") or not path.exists():
        return
    if reason := private.foreign_owner(path.stat()):
        raise RuntimeUnavailable(
            f"the socket {path} {reason}: set FERRYMAN_DOCKER_HOST to Docker's own socket"
        )


def _find_daemon(docker_host: str) -> tuple[str, Any]:
    """Return (URL, TLS settings) of the given host, else of DOCKER_HOST, the current context or the socket."""
    host = docker_host or os.environ.get("DOCKER_HOST", "")
    if host:
        options = kwargs_from_env(environment={**os.environ, "DOCKER_HOST": host})
        return options.get("base_url", host), options.get("tls")
    context = ContextAPI.get_current_context()
    if context is not None and context.Name != "default" and context.Host:
        return context.Host, context.TLSConfig
    return "unix:///var/run/docker.sock", None


def _ssl_context(tls: Any) -> ssl.SSLContext | None:
    if not tls:
        return None
    context = ssl.create_default_context(cafile=tls.ca_cert or None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(*tls.cert)
    return context


@contextlib.contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the library's exceptions into ours; `action` says in the message what was tried.

    An error of the 500s becomes ErrorAnswer, and no answer RuntimeUnavailable. An APIError of the 400s passes: the
    caller knows the meaning.
    """
    try:
        yield
    except APIError as exc:
        if exc.is_client_error():
            raise
        raise ErrorAnswer(f"Docker failed ({action}): {message_of(exc)}") from exc
    except (requests.exceptions.RequestException, DockerException) as exc:
        raise RuntimeUnavailable(
            f"Docker does not answer ({action}): {messages.connection_failure(str(exc))}; "
            "is the daemon running, and may this user use it?"
        ) from exc


def message_of(exc: APIError) -> str:
    """Return the daemon's own message, without the words that the library adds."""
    return str(exc.explanation or exc).strip()
