"""Real pgbouncer before a real PostgreSQL, in one of its pool modes."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support.databases import Postgres, free_port, missing
from tests.support.waiting import wait_until

CONFIG = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
logfile = {directory}/log
pool_mode = {mode}
default_pool_size = 40
"""


@contextmanager
def running_pgbouncer(server: Postgres, mode: str) -> Iterator[int]:
    """Run pgbouncer before the server; yield its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        missing("pgbouncer is not installed: apt-get install pgbouncer")
    directory, port = Path(tempfile.mkdtemp(prefix="ferryman-pgbouncer-")), free_port()
    (directory / "users").write_text('"postgres" ""\n')
    config = directory / "pgbouncer.ini"
    config.write_text(CONFIG.format(server=server.port, port=port, directory=directory, mode=mode))
    words = [str(program), str(config)]
    if getpass.getuser() == "root":
        # pgbouncer refuses to run as root.
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "postgres", "postgres")
        words = ["runuser", "-u", "postgres", "--", *words]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), 10)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        psycopg.connect(
            f"host=127.0.0.1 port={port} user=postgres dbname=postgres", connect_timeout=2
        ).close()
    except psycopg.OperationalError:
        return False
    return True
