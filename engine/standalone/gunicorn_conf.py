"""How gunicorn serves the API: read by it as its configuration file, for `standalone` and `ferryman api`.

One process with many threads: each SSE client takes a thread, and the event reader is one a process.
"""

from __future__ import annotations

import os
from typing import Any

from engine.settings import Settings
from engine.standalone.request_timeout import HeadTimeoutWorker

_settings = Settings.from_env()

wsgi_app = "api:create_app()"
bind = f"{_settings.api.host}:{_settings.api.port}"
worker_class = HeadTimeoutWorker
workers = 1
threads = _settings.api.api_threads
preload_app = False
#: Seconds that answers on their way get at a stop; streams end by themselves when they are told.
graceful_timeout = 2
timeout = 60
keepalive = 15
backlog = 1024
loglevel = "info"
accesslog = None
proc_name = "ferryman-api"
#: Its heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
#: gunicorn >= 24 opens a socket for commands otherwise; nobody is to command it but its parent.
control_socket_disable = True


def pre_request(worker: HeadTimeoutWorker, request: Any) -> None:
    """gunicorn calls it when a request's head is read."""
    worker.head_is_read()
