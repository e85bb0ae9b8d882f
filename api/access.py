"""Access to the API: its own account and root, told by the kernel, and whoever sends the token.

Every account of a host can reach loopback, so an address proves nothing.
"""

from __future__ import annotations

import hmac
import logging
import os
import pwd
import socket
from functools import lru_cache
from weakref import WeakSet

from flask import Flask, request

from api import peer
from api.problem import RequestRefused
from engine.settings import ApiSettings

log = logging.getLogger("ferryman.api")

#: A browser asks its user for the token.
_CHALLENGE = 'Basic realm="Ferryman: any name, and the token as the password", Bearer'
#: Views for monitors of every account: a process answers, and its version.
_OPEN = ("rest.health", "rest.status")


class NotAdmitted(RequestRefused):
    """Refusal of a request whose account may not use the API."""

    def __init__(self, found: str) -> None:
        super().__init__(
            401,
            found,
            "send the header 'Authorization: Bearer TOKEN', or set FERRYMAN_API_TOKEN for the command line; the token "
            "is api_token in run.json in the stand-alone's data directory, or FERRYMAN_API_TOKEN of the API",
            {"WWW-Authenticate": _CHALLENGE},
        )


def install(app: Flask, settings: ApiSettings) -> None:
    """Check every request, unless the API is open to every account of the host."""
    if settings.no_token:
        log.warning(
            "every account of this host may use the API without a token (--no-token, FERRYMAN_NO_TOKEN)"
        )
        return
    access = Access(settings.api_token)

    @app.before_request
    def check() -> None:
        connection = request.environ.get("gunicorn.socket")
        if request.endpoint not in _OPEN and not access.is_known(connection):
            access.check(connection, _token())


class Access:
    """Rule of one API process: which connections and tokens may use it. Thread-safe."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._own = os.geteuid()
        #: Connections whose account is known to be admitted: the kernel is asked once for each.
        self._admitted: WeakSet[socket.socket] = WeakSet()

    def is_known(self, connection: socket.socket | None) -> bool:
        """Return whether an earlier request of this connection came from an admitted account."""
        return connection is not None and connection in self._admitted

    def check(self, connection: socket.socket | None, token: bytes | None) -> None:
        """Check that the request comes from an admitted account or has the token. Raises NotAdmitted."""
        if token is not None and self._token and hmac.compare_digest(token, self._token):
            return
        uid = None if connection is None else peer.uid_of(connection)
        if uid is None:
            raise NotAdmitted("the kernel does not tell which account this connection comes from")
        if uid not in (0, self._own):
            raise NotAdmitted(
                f"this connection comes from {_account(uid)}, and only {_account(self._own)} and root need no token"
            )
        assert connection is not None
        self._admitted.add(connection)


def _token() -> bytes | None:
    """Return the token of the request: after `Bearer`, or as the password of `Basic`."""
    sent = request.authorization
    text = None if sent is None else sent.token if sent.type == "bearer" else sent.password
    return None if text is None else text.encode(errors="replace")


@lru_cache(256)
def _account(uid: int) -> str:
    try:
        return f"account {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"account uid {uid}"
