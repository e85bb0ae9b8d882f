"""The docker library's client, with the calls that every link makes sent by ourselves.

A call of the library costs 1.8 ms of processor time, nearly all of it in `requests`; the same on a socket of its
own, which is connected in 0.06 ms, costs 0.15 ms. Names, arguments, answers and errors are the library's, as far
as they are used here.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import docker
import requests
from docker.errors import APIError, NotFound
from docker.utils import convert_filters

from engine.errors import RuntimeUnavailable
from engine.runtime.docker.http import open_exchange

#: The longest answer is a list of containers, about 1 KB each.
_MOST_BYTES = 1 << 28


class FastClient(docker.APIClient):
    """One daemon, with the newest API version that both sides know."""

    def __init__(self, address: str, context: ssl.SSLContext | None, timeout: float, **options: Any) -> None:
        """`address` and `context` are as for `open_exchange`, `options` the library's."""
        super().__init__(timeout=round(timeout), **options)
        self._place = (address, context, timeout)

    def create_container_from_config(self, config: Any, name: str | None = None, platform: Any = None) -> Any:
        """POST /containers/create."""
        asked = {"name": name, "platform": platform}
        return self._ask("POST", "/containers/create", asked, config)

    def inspect_container(self, container: Any) -> Any:
        """GET /containers/ID/json."""
        return self._ask("GET", f"/containers/{quote(container)}/json")

    def start(self, container: Any) -> None:
        """POST /containers/ID/start."""
        self._ask("POST", f"/containers/{quote(container)}/start")

    def kill(self, container: Any, signal: str | int | None = None) -> None:
        """POST /containers/ID/kill."""
        self._ask("POST", f"/containers/{quote(container)}/kill", {"signal": signal})

    def remove_container(
        self, container: Any, v: bool = False, link: bool = False, force: bool = False
    ) -> None:
        """DELETE /containers/ID."""
        asked = {"v": v or None, "link": link or None, "force": force or None}
        self._ask("DELETE", f"/containers/{quote(container)}", asked)

    def containers(self, *, all: bool = False, filters: Mapping[str, Any] | None = None) -> Any:  # type: ignore[override]
        """GET /containers/json."""
        asked = {"all": all or None, "filters": convert_filters(filters) if filters else None}
        return self._ask("GET", "/containers/json", asked)

    def create_volume(
        self, name: str | None = None, driver: str | None = None, driver_opts: Any = None, labels: Any = None
    ) -> Any:
        """POST /volumes/create."""
        body = {"Name": name, "Driver": driver, "DriverOpts": driver_opts, "Labels": labels}
        return self._ask("POST", "/volumes/create", None, body)

    def inspect_volume(self, name: str) -> Any:
        """GET /volumes/NAME."""
        return self._ask("GET", f"/volumes/{quote(name)}")

    def remove_volume(self, name: str, force: bool = False) -> None:
        """DELETE /volumes/NAME."""
        self._ask("DELETE", f"/volumes/{quote(name)}", {"force": force or None})

    def _ask(
        self, method: str, path: str, asked: Mapping[str, Any] | None = None, body: object = None
    ) -> Any:
        """The answer, read as JSON. Raises what the library does: docker.errors.APIError, requests' exceptions."""
        address, context, timeout = self._place
        given = {
            key: "1" if value is True else value for key, value in (asked or {}).items() if value is not None
        }
        line = method, f"/v{self.api_version}{path}{'?' if given else ''}{urlencode(given)}"
        sent = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if sent else {}
        try:
            with open_exchange(address, context, line, headers, timeout, sent) as answer:
                if not answer.head(timeout):
                    raise requests.exceptions.ReadTimeout(f"no answer within {timeout:.0f} s")
                text = answer.rest(_MOST_BYTES)
        except RuntimeUnavailable as exc:
            raise requests.exceptions.ConnectionError(f"{exc} {exc.__cause__!r}") from exc
        if answer.status >= 400:
            raise _api_error(answer.status, text, path)
        return json.loads(text) if text else None


def _api_error(status: int, text: bytes, path: str) -> APIError:
    response = requests.Response()
    response.status_code, response.url = status, path
    try:
        said = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        said = text.decode("utf-8", "replace").strip()
    kind = NotFound if status == 404 else APIError
    return kind(f"{status} for {path}", response=response, explanation=said)
