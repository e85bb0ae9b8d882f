"""The plain worker on a broker that delivers a message again when it is not acknowledged within 5 s."""

from __future__ import annotations

import sys

from celery.__main__ import main

from engine.celery import app

#: kombu looks each 10 s, and then only each tenth time: here at each second.
HASTY = {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}

if __name__ == "__main__":
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, **HASTY}
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
