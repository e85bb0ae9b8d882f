"""Sizes as people read them."""

from __future__ import annotations


def size(bytes: float) -> str:
    """Return bytes as `380 bytes`, `2.1 MB` or `64 GB`, in powers of 1024."""
    number = float(bytes)
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1023.5:
            return f"{number:.1f} {unit}" if unit != "bytes" and number < 9.95 else f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TB" if number < 9.95 else f"{number:.0f} TB"
