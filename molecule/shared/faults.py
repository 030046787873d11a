"""What can be wrong with a release."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tills import Till


@dataclass
class Fault:
    """One thing that keeps a release from going live, and what the operator is told of it."""

    says: str
    spoil: Callable[[Till], None]
    # What else the page says, so that waiting in vain is short.
    settings: dict[str, Any] = field(default_factory=dict)


def line(text: str) -> Callable[[Till], None]:
    """Code that ends in this line."""
    return lambda till: till.write(text)


def override(template: str, block: str, text: str) -> Callable[[Till], None]:
    """An operator's template that fills a block with this."""

    def write(till: Till) -> None:
        content = f"{{% extends '{template}' %}}\n{{% block {block} %}}\n{text}\n{{% endblock %}}\n"
        till.templates.mkdir(parents=True)
        (till.templates / template).write_text(content)

    return write


def broken_settings(till: Till) -> None:
    """An operator's template that its server cannot read."""
    template = {"gunicorn": "gunicorn.conf.py.j2", "uwsgi": "uwsgi.ini.j2"}[till.server]
    override(template, "extra", "no_such_setting = = 3")(till)


def without_lock(till: Till) -> None:
    """The lock file was forgotten."""
    (till.code / "requirements.txt").unlink()


def with_wrong_hashes(till: Till) -> None:
    """Somebody else's package under the name of one of ours."""
    lock = till.code / "requirements.txt"
    text = lock.read_text()
    ours = re.search(r"^packaging==.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    assert ours is not None
    lock.write_text(text.replace(ours.group(), re.sub(r"sha256:\w+", "sha256:" + "0" * 64, ours.group())))


# Both servers' checks import it before they start.
UNLESS_CHECKED = "import sys\nif not {'--check-config', '../uwsgi_app.py'} & set(sys.argv):\n"
# A release that is not well is waited for, and one that hangs is asked to end.
BRIEFLY = {"health": {"timeout": 5}, "graceful_timeout": 1}
FAULTS = {
    "a release that cannot be imported": Fault("no such thing", line("raise ImportError('no such thing')")),
    "a release whose workers do not boot": Fault(
        "not here",
        line(UNLESS_CHECKED + "    raise ImportError('not here')"),
    ),
    "a release that answers 500": Fault(
        "answered 500", line("app = lambda environ, start: start('500 No', []) or []"), BRIEFLY
    ),
    "a release that never answers": Fault(
        "did not get healthy", line("import time\napp = lambda environ, start: time.sleep(600)"), BRIEFLY
    ),
    "a hook that fails": Fault(
        "no such table",
        line("# wants another table"),
        {"hooks": {"before_start": ["python -c 'exit(\"no such table\")'"]}},
    ),
    "no lock file": Fault("requirements.txt", without_lock),
    "a package with another hash": Fault("packaging", with_wrong_hashes),
    "a broken override for the server": Fault("no_such_setting", broken_settings),
    "a broken override for nginx": Fault(
        "no_such_directive", override("site.conf.j2", "server_extra", "    no_such_directive on;")
    ),
}

# A hook that leaves a trace, and takes its time only when it is the first.
SLOW_ONCE = """
import os, sys, time
try:
    open(os.path.join(os.environ["SITE_SHARED"], "data", sys.argv[1]), "x")
    time.sleep(3)
except FileExistsError:
    pass
"""


def with_slow_hooks(till: Till) -> None:
    """Hooks that can be caught at work."""
    (till.code / "slow_once.py").write_text(SLOW_ONCE)
    hooks = {when: [f"python slow_once.py {when}"] for when in ("before_start", "after_live")}
    till.entry["hooks"] = hooks
    till.machine.output("rm -f " + " ".join(f"{till.root}/shared/data/{when}" for when in hooks))
