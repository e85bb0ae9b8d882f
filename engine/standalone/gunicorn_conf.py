"""Configuration file of gunicorn, for `ferryman standalone` and `ferryman api`.

One process with many threads: each SSE client occupies a thread, and each process has one event reader.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gunicorn.errors import HaltServer

from engine.settings import Settings
from engine.standalone.bounded_worker import BoundedWorker

_settings = Settings.from_env()

wsgi_app = "api:create_app()"
bind = _settings.api.address
worker_class = BoundedWorker
workers = 1
threads = _settings.api.api_threads
preload_app = False
#: Seconds for unfinished answers at a stop; streams notice the stop and end themselves.
graceful_timeout = 2
timeout = 60
keepalive = 15
backlog = 1024
#: No header of a request is trusted: on loopback every client is 127.0.0.1, and a SCRIPT_NAME would shift the paths.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
loglevel = "info"
accesslog = None
proc_name = "ferryman-api"
#: gunicorn's heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
#: gunicorn >= 24 would open a control socket; only the supervisor may control this process.
control_socket_disable = True


def pre_request(worker: BoundedWorker, request: Any) -> None:
    """Bound the body; gunicorn calls this hook when it has read a request's head."""
    worker.head_is_read(request, _settings.api.body_bytes)


def on_exit(server: Any) -> None:
    """Exit with 78 when the app could not start; gunicorn calls this hook last, inside the handler of that error."""
    reason = sys.exc_info()[1]
    if isinstance(reason, HaltServer) and reason.exit_status == server.WORKER_BOOT_ERROR:
        sys.exit(os.EX_CONFIG)
