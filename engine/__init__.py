"""Ferryman runs tasks written in YAML in Docker containers, by Celery workers, and never loses one.

This package is the engine; the package `api` beside it is the REST API. Nothing is imported here, so that
`import engine.jobspec` loads neither Celery nor Docker.
"""

__version__ = "0.1.0"
