"""Anchor of submissions: a bare Flask view that inserts one row, under the same server and settings."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid

from flask import Flask, request

app = Flask(__name__)
_mine = threading.local()


@app.post("/task")
def insert() -> tuple[dict[str, str], int]:
    """Insert one row, committed before the answer."""
    if not hasattr(_mine, "connection"):
        _mine.connection = sqlite3.connect(os.environ["BENCH_DATABASE"], timeout=30, isolation_level=None)
        _mine.connection.execute("PRAGMA journal_mode = WAL")
        _mine.connection.execute("PRAGMA synchronous = NORMAL")
        _mine.connection.execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
    id = uuid.uuid4().hex
    _mine.connection.execute("INSERT INTO rows VALUES (?, ?)", (id, request.get_data(as_text=True)))
    return {"id": id}, 201


@app.get("/health")
def health() -> dict[str, str]:
    """Answer that the server is up."""
    return {"status": "UP"}
