"""The connection to one daemon: where it is, its time-outs, and its errors as ours."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env, parse_host

from engine.errors import RuntimeUnavailable
from engine.runtime.docker.fast_client import FastClient
from engine.runtime.docker.http import Exchange, Tether, open_exchange, open_tether

#: Connections that the library keeps ready for the calls that are rare.
POOL = 8


class Client:
    """One daemon, connected to when first asked. Shared by all threads of a process."""

    def __init__(self, docker_host: str = "", timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._docker_host = docker_host
        self._api: docker.APIClient | None = None
        self._address = ""
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    @property
    def api(self) -> docker.APIClient:
        """The docker library's low-level client, with the newest API version that both sides know."""
        with self._lock:
            if self._api is None:
                self._api = self._open()
            return self._api

    @property
    def address(self) -> str:
        """Where the daemon is, for people."""
        return self._address.replace("http+unix:", "unix:") or self._docker_host or "the default socket"

    def exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Exchange:
        """Send a request on a socket of its own. Raises RuntimeUnavailable."""
        version = self.api.api_version
        query = f"?{urlencode(params)}" if params else ""
        return open_exchange(
            self._address, self._tls, (method, f"/v{version}{path}{query}"), headers or {}, self.timeout
        )

    def tether(self) -> Tether:
        """A connection that tells whether the daemon has ended since. Raises RuntimeUnavailable."""
        version = self.api.api_version
        return open_tether(self._address, self._tls, f"/v{version}/_ping", self.timeout)

    def close(self) -> None:
        """Drop the connections; the next call opens new ones."""
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def _open(self) -> docker.APIClient:
        with translated(self._docker_host or "its default address"):
            base_url, tls = _place(self._docker_host)
            if base_url.startswith("ssh://"):
                raise RuntimeUnavailable(
                    f"{base_url}: Docker over ssh is not spoken; forward its socket (ssh -L /tmp/d.sock:"
                    "/var/run/docker.sock HOST) and set FERRYMAN_DOCKER_HOST=unix:///tmp/d.sock"
                )
            self._address = str(parse_host(base_url, tls=bool(tls)))
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


def _place(docker_host: str) -> tuple[str, Any]:
    """(URL, TLS settings) of the named host, else DOCKER_HOST's, else the current context's, else the socket."""
    named = docker_host or os.environ.get("DOCKER_HOST", "")
    if named:
        found = kwargs_from_env(environment={**os.environ, "DOCKER_HOST": named})
        return found.get("base_url", named), found.get("tls")
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
def translated(doing: str) -> Iterator[None]:
    """Turn what the library raises into RuntimeUnavailable; `doing` says what was asked, for the message.

    An APIError of the 400s passes: the caller knows what it means there.
    """
    try:
        yield
    except APIError as exc:
        if exc.is_client_error():
            raise
        raise RuntimeUnavailable(f"Docker failed ({doing}): {words(exc)}") from exc
    except requests.exceptions.RequestException as exc:
        raise RuntimeUnavailable(f"Docker does not answer ({doing}): {_short(exc)}") from exc
    except DockerException as exc:
        raise RuntimeUnavailable(
            f"Docker does not answer ({doing}): {_short(exc)}; is the daemon running, and may this user use it?"
        ) from exc


def words(exc: APIError) -> str:
    """What the daemon said, without the library's frame."""
    return str(exc.explanation or exc).strip()


def _short(exc: BaseException) -> str:
    text = str(exc)
    for hidden in ("PermissionError", "FileNotFoundError", "ConnectionRefusedError"):
        if hidden in text:
            return {
                "PermissionError": "permission denied on its socket (group docker, or sudo)",
                "FileNotFoundError": "no socket there",
                "ConnectionRefusedError": "connection refused",
            }[hidden]
    return text[:300]
