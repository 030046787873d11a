"""The three JSON libraries, and why none replaces the json module globally."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from flask import jsonify, session
from wordbook.json_provider import LIBRARIES


@dataclass
class Point:
    x: int
    y: Decimal


VALUE = {
    "word": "茶",
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "there": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=8))),
    "naive": datetime(2026, 1, 2, 3, 4, 5),
    "day": date(2026, 1, 2),
    "price": Decimal("1.10"),
    "id": UUID(int=1),
    "point": Point(1, Decimal("2.50")),
    "list": [1, 2.5, None, True],
    "7": "seven",
}
TEXT = (
    '{"7":"seven","at":"2026-01-02T03:04:05Z","day":"2026-01-02","id":"00000000-0000-0000-0000-000000000001",'
    '"list":[1,2.5,null,true],"naive":"2026-01-02T03:04:05","point":{"x":1,"y":"2.50"},"price":"1.10",'
    '"there":"2026-01-02T03:04:05+08:00","word":"茶"}'
)


@pytest.mark.parametrize("library", LIBRARIES)
def test_all_libraries_write_the_same_json(make, library: str) -> None:
    app = make(JSON_LIBRARY=library)
    with app.test_request_context():
        answer = jsonify(VALUE)
    assert answer.get_data(as_text=True) == TEXT + "\n"
    assert answer.mimetype == "application/json"
    assert app.json.loads(TEXT.encode())["word"] == "茶"
    assert app.json.dumps({"a": 1}, indent=None, separators=(", ", ": ")) == '{"a":1}'
    with pytest.raises(TypeError):
        app.json.dumps(object())


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_session_uses_the_chosen_library(make, library: str) -> None:
    app = make(JSON_LIBRARY=library)
    app.add_url_rule("/put", "put", lambda: session.update(word="茶", pair=(1, 2)) or "")
    app.add_url_rule("/get", "get", lambda: f"{session['word']} {session['pair']}")
    client = app.test_client()
    client.get("/put")
    assert client.get("/get").text == "茶 (1, 2)"


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (0.00001, ["1e-05", "1e-05", "0.00001"]),
        (2**70, [str(2**70), str(2**70), TypeError]),
        (float("nan"), [ValueError, ValueError, "null"]),
        ({2: 0, 10: 0}, ['{"2":0,"10":0}', '{"10":0,"2":0}', '{"10":0,"2":0}']),
        ({1: 0, "a": 0}, [TypeError, '{"1":0,"a":0}', '{"1":0,"a":0}']),
    ],
)
def test_the_libraries_differ_in_known_cases(make, value, texts) -> None:
    for library, text in zip(("json", "simplejson", "orjson"), texts, strict=True):
        provider = make(JSON_LIBRARY=library).json
        if isinstance(text, str):
            assert provider.dumps(value) == text
        else:
            with pytest.raises(text):
                provider.dumps(value)


def test_an_unknown_library_is_refused_at_startup(make) -> None:
    with pytest.raises(RuntimeError, match="'ujson'; it can be json, simplejson, orjson"):
        make(JSON_LIBRARY="ujson")


TRAP = """
import sys, ujson
sys.modules["json"] = ujson
from decimal import Decimal
from flask import Flask, json, jsonify
app = Flask(__name__)
with app.test_request_context():
    print(jsonify(price=Decimal("1.10")).get_data(as_text=True).strip())
    try:
        print(json.dumps({"a": 1}, indent=None))
    except TypeError as error:
        print("TypeError:", error)
"""


def test_replacing_the_json_module_globally_breaks_other_code(make) -> None:
    """`sys.modules["json"] = ujson` changes responses silently, and fails with `indent=None`."""
    done = subprocess.run([sys.executable, "-c", TRAP], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == '{"price":1.1}', "a price has become a float, though Flask writes the text"
    assert second.startswith("TypeError:"), "the real module takes indent=None, and so do its callers"
    for library in LIBRARIES:
        app = make(JSON_LIBRARY=library)
        with app.test_request_context():
            assert jsonify(price=Decimal("1.10")).get_data(as_text=True) == '{"price":"1.10"}\n'
        assert app.json.dumps({"a": 1}, indent=None) == '{"a":1}'
