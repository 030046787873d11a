"""The measured site: pages that cost next to nothing, so that the cost of the servers shows."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import Any

from flask import Flask, render_template_string, request

WORDS = [
    {"id": number, "english": f"word {number}", "chinese": f"词 {number}", "example": "The train is on time."}
    for number in range(1, 21)
]
PAGE = "<ul>{% for word in words %}<li>{{ word.english }} {{ word.chinese }}: {{ word.example }}</li>{% endfor %}</ul>"

app = Flask(__name__)


@app.get("/tiny")
def tiny() -> str:
    """The smallest answer."""
    return "ok"


@app.get("/json")
def json() -> dict[str, Any]:
    """Twenty words from memory."""
    return {"words": WORDS}


@app.get("/database")
def database() -> str:
    """Twenty words from SQLite, as a page."""
    with sqlite3.connect(os.environ["WORDS"]) as connection:
        connection.row_factory = sqlite3.Row
        words = connection.execute("SELECT * FROM words ORDER BY english LIMIT 20").fetchall()
    connection.close()
    return render_template_string(PAGE, words=words)


@app.get("/sleep")
def sleep() -> dict[str, int]:
    """Answer late, as with a slow service, with the process and thread that answers."""
    time.sleep(request.args.get("seconds", 0.0, type=float))
    return {"pid": os.getpid(), "thread": threading.get_ident()}
