"""Titles of links: one form in events, errors, logs, Flower, the command line and the dashboard."""

from __future__ import annotations


def link_title(kind: str, name: str | None, index: int) -> str:
    """Return `main`, `pre 0` or `pre 0 (download)`.

    `index` is the place in the chain, as in the API's answers and in container names. A link without a name of
    its own has None or its kind as `name`.
    """
    if kind == "main":
        return kind
    return f"{kind} {index} ({name})" if name and name != kind else f"{kind} {index}"
