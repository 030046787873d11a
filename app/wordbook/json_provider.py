"""The JSON library of choice, in the one place that Flask has for it.

Do not replace the module ``json`` itself (``sys.modules["json"] = ujson``): every library of the process gets it then,
and each relies on arguments and answers of the real one. ``app.json`` is Flask's own and only switch; ``jsonify``,
``request.get_json`` and the session all go through it.

Texts, times, whole numbers of up to 64 bits and the like are written the same by all. These are not:

=============== =============== =============== ===============
a value         json            simplejson      orjson
=============== =============== =============== ===============
0.00001         1e-05           1e-05           0.00001
2**70           its digits      its digits      refused
NaN             refused         refused         null
{2: 0, 10: 0}   2 before 10     10 before 2     10 before 2
{1: 0, "a": 0}  refused         "1" before "a"  "1" before "a"
=============== =============== =============== ===============
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import simplejson
from flask import Flask, Response
from flask.json.provider import JSONProvider


def plain(value: Any) -> Any:
    """Convert values that JSON has no type for."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def refuse(constant: str) -> Any:
    """NaN and Infinity are no JSON, though Python writes and reads them."""
    raise ValueError(f"{constant} is no JSON")


class Library(NamedTuple):
    """How one library writes and reads."""

    dumps: Callable[[Any], str]
    loads: Callable[[str | bytes], Any]


# Short (no blanks), readable (no \uXXXX), and in the same order each time.
STYLE: dict[str, Any] = {
    "default": plain, "separators": (",", ":"), "ensure_ascii": False, "sort_keys": True, "allow_nan": False
}  # fmt: skip
ORJSON_STYLE = (
    orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
)
LIBRARIES = {
    "json": Library(lambda value: json.dumps(value, **STYLE), lambda text: json.loads(text, parse_constant=refuse)),
    "simplejson": Library(lambda value: simplejson.dumps(value, use_decimal=False, **STYLE), simplejson.loads),
    "orjson": Library(
        lambda value: orjson.dumps(value, default=plain, option=ORJSON_STYLE).decode(), lambda text: orjson.loads(text)
    ),
}


class Provider(JSONProvider):
    """Flask's interface to a library. Options of a single call are left aside: there is one style."""

    def __init__(self, app: Flask, library: Library) -> None:
        super().__init__(app)
        self.library = library

    def dumps(self, obj: Any, **_options: Any) -> str:
        return self.library.dumps(obj)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        # With the line break at the end that a terminal needs.
        text = self.dumps(self._prepare_response_obj(args, kwargs))
        return self._app.response_class(f"{text}\n", mimetype="application/json")

    def loads(self, s: str | bytes, **_options: Any) -> Any:
        try:
            return self.library.loads(s)
        except RecursionError:
            raise ValueError("nested too deep") from None


def make(app: Flask) -> Provider:
    """Make the provider that ``JSON_LIBRARY`` names.

    :raises RuntimeError: when there is none of that name
    """
    name = app.config["JSON_LIBRARY"]
    if name not in LIBRARIES:
        raise RuntimeError(f"JSON_LIBRARY is {name!r}; it can be {', '.join(LIBRARIES)}.")
    return Provider(app, LIBRARIES[name])
