"""Rules for the registries of images: the daemon asks them from the host's own network. Pure logic on texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import SettingsError
from engine.jobspec.container_paths import items
from engine.jobspec.problems import Fault, Path
from engine.wording.text import quoted

_PATTERN = re.compile(r"[A-Za-z0-9._:/@*\[\]-]+")
_LOCAL_NAMES = re.compile(
    r"(?:.*\.)?localhost(?:[46]|\.localdomain|[46]\.localdomain[46]?)?|ip6-(?:localhost|loopback)"
)
#: A last part that is a number makes an IPv4 address: 127.0.0.1, 127.1, 2130706433, 0x7f.1, 0177.0.0.1, 0.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def image_patterns(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of FERRYMAN_IMAGES. Raises SettingsError."""
    patterns = tuple(entries)
    for entry in patterns:
        if _PATTERN.fullmatch(entry) is None:
            raise SettingsError(
                f"FERRYMAN_IMAGES: {quoted(entry)} is not a pattern of images: write registry.example.org/* or *"
            )
    return patterns


def image_denial(image: str, patterns: tuple[str, ...]) -> str:
    """Return why tasks may not use an image, "" when they may.

    With patterns, one must match the whole text, with or without docker.io (* stands for any characters). Without
    patterns, the registry must be a name.
    """
    host = _registry_host(image)
    if patterns:
        full = image if host else f"docker.io/{'' if '/' in image else 'library/'}{image}"
        rules = [re.compile(re.escape(each).replace(r"\*", ".*"), re.DOTALL) for each in patterns]
        if any(rule.fullmatch(text) for rule in rules for text in (image, full)):
            return ""
        return f"the image {quoted(image)} may not be used: FERRYMAN_IMAGES does not list it"
    if host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return f"the image {quoted(image)} may not be used: its registry is an IP address"
    if _LOCAL_NAMES.fullmatch(host):
        return f"the image {quoted(image)} may not be used: its registry is the host itself"
    return ""


def _registry_host(image: str) -> str:
    """Return the host of the registry in lower case, as Docker reads it; "" for Docker's default registry."""
    first, slash, _ = image.partition("/")
    if not slash or not (set(".:") & set(first) or first == "localhost" or first != first.lower()):
        return ""
    host = first.lower()
    return host if host.startswith("[") else host.partition(":")[0].rstrip(".")


def image_faults(task: Mapping[str, Any], patterns: tuple[str, ...]) -> Iterable[tuple[Path, Fault]]:
    """Return the faults of the images of all links; values of a wrong type are skipped."""
    links: list[tuple[Path, Any]] = [((), task)]
    for key in ("pre", "post"):
        links += [((key, index), item) for index, item in items(task, key)]
    for path, link in links:
        image = link.get("image") if isinstance(link, Mapping) else None
        if isinstance(image, str) and (reason := image_denial(image, patterns)):
            hint = "use an image of another registry, or ask the operator to list it in FERRYMAN_IMAGES"
            yield (*path, "image"), Fault(reason, hint)
