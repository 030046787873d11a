"""Rules for workers, processes and cron schedules."""

from __future__ import annotations

import re
import shlex

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.basic import (
    pattern,
)


def auto_or_count(value: object) -> str | None:
    """``auto``, or at least one."""
    fits = value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
    return None if fits else "use auto, or a whole number of at least 1 without quotes"


def tasks_max(value: object) -> str | None:
    """How many processes and threads."""
    fits = value == "infinity" or (isinstance(value, int) and not isinstance(value, bool) and value >= 16)
    return None if fits else "use infinity, or a whole number of at least 16 without quotes"


def worker_class(value: str) -> str | None:
    """The name of a class; which there are, only the gunicorn of the lock file knows."""
    if "asgi" in str(value).lower():
        return "is for ASGI apps, and a site's is WSGI; give gthread, sync, gevent or tornado"
    return pattern(r"[A-Za-z_][\w.]*", "give the name of a worker class, such as gthread, sync or gevent")(value)


def command(value: str) -> str | None:
    """A command as a shell would split it, though no shell runs it."""
    try:
        words = shlex.split(str(value))
    except ValueError:
        return "a quotation mark is not closed"
    return None if words else "give a command, such as flask --app wsgi db upgrade"


MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# What each field of a crontab may be: lowest, highest, names.
CRON_FIELDS: dict[str, tuple[int, int, list[str]]] = {
    "minute": (0, 59, []),
    "hour": (0, 23, []),
    "day": (1, 31, []),
    "month": (1, 12, MONTHS),
    "weekday": (0, 7, WEEKDAYS),
}
CRON_WORDS = ("@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
LONGEST = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))


def schedule(value: str) -> str | None:
    """A schedule of Debian's cron, including errors that cron ignores silently."""
    text = str(value)
    if text.startswith("@"):
        return None if text in CRON_WORDS else f"must be five fields, or one of {', '.join(CRON_WORDS)}"
    fields = re.split(r"[ \t]+", text.strip(" \t"))
    if len(fields) != 5:
        return 'give five fields (minute, hour, day, month, weekday), such as "15 3 * * *", or @daily'
    for name, field in zip(CRON_FIELDS, fields, strict=True):
        if problem := cron_field(field, *CRON_FIELDS[name]):
            return f"the {name} {problem}"
    day, month, weekday = fields[2:]
    if weekday == "*" and day.isdigit() and month.isdigit() and int(day) > LONGEST[int(month)]:
        return "names a day that its month never has"
    return None


def cron_field(text: str, low: int, high: int, names: list[str]) -> str | None:
    """The error of one field: ``*``, a number, ``a-b``, these with ``/step``, lists of them, or one name."""
    if text.lower() in names:
        return None
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?", part)
        if match is None:
            alone = ", or one name alone" if names else ""
            return f"must be *, a number, a range such as 1-5, a step such as */10, or a list of these{alone}"
        first, last, step = (int(number) if number else None for number in match.groups())
        if any(number is not None and not low <= number <= high for number in (first, last)):
            return f"must be from {low} to {high}"
        if last is not None and first is not None and last < first:
            return "has a range that ends before it begins"
        if step is not None and first is not None and last is None:
            return "has a step without a range; write a-b/step or */step"
        if step is not None and not 1 <= step <= high:
            return f"has a step that must be from 1 to {high}"
    return None


# Names that would be a slot's program, or a log that every site has.
TAKEN = {
    **dict.fromkeys(("blue", "green"), "a slot"),
    **dict.fromkeys(("server", "access", "error"), "a log"),
    "scaler": "what lets workers follow the load",
}


def process_name(value: str) -> str | None:
    """The name of a process or job, which is part of its program's and its log's name."""
    if str(value) in TAKEN:
        return f"is the name of {TAKEN[str(value)]}; choose another"
    return pattern(r"[a-z][a-z0-9_]{0,29}", "use small letters, digits and _, at most 30, beginning with a letter")(
        value
    )
