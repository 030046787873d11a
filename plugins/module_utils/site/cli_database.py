"""SITE-ctl's command `db`: the shell of the database in DATABASE_URL. No output shows the URL or the password."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.cli_process import CommandError, as_site, execute
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

# The argument of the second half of `db`, which runs as the site's user with access to the password.
AS_SITE = "--database-shell"


def database(site: Layout, arguments: list[str]) -> NoReturn:
    """Start the second half of `db` as the site's user, in whose environment the password is."""
    if arguments:
        raise CommandError("db takes no arguments")
    as_site(site, ["/usr/bin/python3", "-I", str(paths.LIBRARY / "console"), AS_SITE])


def database_shell(environment: Mapping[str, str]) -> NoReturn:
    """Exec sqlite3, psql or mariadb, with the password in the environment, which no other user can read."""
    words, more = database_command(environment.get("DATABASE_URL", ""))
    program = words[0]
    if shutil.which(program, path=environment.get("PATH")) is None:
        if program == "sqlite3" and sys.version_info >= (3, 12):
            words = ["/usr/bin/python3", "-I", "-m", "sqlite3", *words[1:]]
        else:
            package = {"psql": "postgresql-client", "mariadb": "mariadb-client"}.get(program, program)
            raise CommandError(f"{program} is not installed on this host: apt install {package}")
    execute(words, {**environment, **more})


def database_command(url: str) -> tuple[list[str], dict[str, str]]:
    """The command for a database's URL, and its additional environment. No message shows the URL."""
    if not url:
        raise CommandError("the site has no DATABASE_URL in its environment")
    try:
        parts = urlsplit(url)
        host, port, name = parts.hostname or "", str(parts.port or ""), unquote(parts.path[1:])
    except ValueError:
        raise CommandError("DATABASE_URL cannot be read as a URL") from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    kind = parts.scheme.partition("+")[0]
    options = dict(parse_qsl(parts.query))
    if kind == "sqlite":
        if not name:
            raise CommandError("DATABASE_URL names a database in memory, which other processes cannot reach")
        return ["sqlite3", name], {}
    if kind in ("postgresql", "postgres"):
        given = {
            "PGHOST": host or options.get("host", ""), "PGPORT": port, "PGUSER": user, "PGDATABASE": name,
            "PGPASSWORD": password, "PGSSLMODE": options.get("sslmode", ""),
        }  # fmt: skip
        return ["psql"], {key: value for key, value in given.items() if value}
    if kind in ("mysql", "mariadb"):
        words = ["mariadb", *(f"--{key}={value}" for key, value in (
            ("host", host), ("port", port), ("user", user), ("socket", options.get("unix_socket", "")),
        ) if value)]  # fmt: skip
        return [*words, *([name] if name else [])], {"MYSQL_PWD": password} if password else {}
    raise CommandError("DATABASE_URL has a scheme that this command has no shell for")
