"""Accounts of the host: sockets that another account opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.databases import missing

NOBODY = 65534


@contextmanager
def as_account(uid: int) -> Iterator[None]:
    """Open sockets as this account; the kernel notes the account that opens a socket."""
    if os.geteuid() != 0:
        missing("only root can act as another account")
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
