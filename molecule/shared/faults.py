"""The faults that a release can have."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shops import Shop


@dataclass
class Fault:
    """A fault that keeps a release from going live, and what the message to the operator contains."""

    message: str
    inject: Callable[[Shop], None]
    # Other site keys, so that timeouts are short.
    settings: dict[str, Any] = field(default_factory=dict)


def line(text: str) -> Callable[[Shop], None]:
    """Append this to the code."""
    return lambda shop: shop.append(text)


def override(template: str, block: str, text: str) -> Callable[[Shop], None]:
    """Add an operator's template that fills a block with this."""

    def write(shop: Shop) -> None:
        content = f"{{% extends '{template}' %}}\n{{% block {block} %}}\n{text}\n{{% endblock %}}\n"
        shop.templates.mkdir(parents=True)
        (shop.templates / template).write_text(content)

    return write


def break_server_settings(shop: Shop) -> None:
    """Add an operator's template whose result the server cannot parse."""
    template = {"gunicorn": "gunicorn.conf.py.j2", "uwsgi": "uwsgi.ini.j2"}[shop.server]
    override(template, "extra", "no_such_setting = = 3")(shop)


def remove_lock(shop: Shop) -> None:
    """Remove the lock file."""
    (shop.code / "requirements.txt").unlink()


def falsify_hashes(shop: Shop) -> None:
    """Give a package of the lock file other hashes, as if the index had another file of that name."""
    lock = shop.code / "requirements.txt"
    text = lock.read_text()
    ours = re.search(r"^packaging==.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    assert ours is not None
    lock.write_text(text.replace(ours.group(), re.sub(r"sha256:\w+", "sha256:" + "0" * 64, ours.group())))


# Both servers' checks import it before they start.
UNLESS_CHECKED = "import sys\nif not {'--check-config', '../uwsgi_app.py'} & set(sys.argv):\n"
# A server on a busy machine needs some seconds until it answers at all.
TIME_TO_ANSWER = {"health": {"timeout": 20}}
# A short wait for a release that never answers, and for its end.
SHORT_TIMEOUTS = {"health": {"timeout": 5}, "graceful_timeout": 1}
FAULTS = {
    "a release that cannot be imported": Fault("no such thing", line("raise ImportError('no such thing')")),
    "a release whose workers do not boot": Fault(
        "not here",
        line(UNLESS_CHECKED + "    raise ImportError('not here')"),
    ),
    "a release that answers 500": Fault(
        "answered 500", line("app = lambda environ, start: start('500 No', []) or []"), TIME_TO_ANSWER
    ),
    "a release that never answers": Fault(
        "did not become healthy", line("import time\napp = lambda environ, start: time.sleep(600)"), SHORT_TIMEOUTS
    ),
    "a hook that fails": Fault(
        "no such table",
        line("# needs another table"),
        {"hooks": {"before_start": ["python -c 'exit(\"no such table\")'"]}},
    ),
    "no lock file": Fault("requirements.txt", remove_lock),
    "a package with another hash": Fault("Hash mismatch for `packaging", falsify_hashes),
    "a broken override for the server": Fault("no_such_setting", break_server_settings),
    "a broken override for nginx": Fault(
        "no_such_directive", override("site.conf.j2", "server_extra", "    no_such_directive on;")
    ),
}

# A hook that creates a file, and takes three seconds the first time.
SLOW_ONCE = """
import os, sys, time
try:
    open(os.path.join(os.environ["SITE_SHARED"], "data", sys.argv[1]), "x")
    time.sleep(3)
except FileExistsError:
    pass
"""


def add_slow_hooks(shop: Shop) -> None:
    """Add hooks that run long enough to be interrupted."""
    (shop.code / "slow_once.py").write_text(SLOW_ONCE)
    hooks = {when: [f"python slow_once.py {when}"] for when in ("before_start", "after_live")}
    shop.entry["hooks"] = hooks
    shop.machine.output("rm -f " + " ".join(f"{shop.root}/shared/data/{when}" for when in hooks))
