"""Ferryman carries containers: tasks written in YAML, run by Celery workers in Docker, never lost.

This package is the engine; `api` beside it is the REST door. Nothing is imported here, so that
`import engine.jobspec` loads neither Celery nor Docker.
"""

__version__ = "0.1.0"
