"""The database's shell on the host: `SITE-ctl db`."""

from __future__ import annotations

from support import Machine

# The site whose database server is on the host, and the shell that belongs to it.
SHELLS = {"paper": ("library", "psql"), "ink": ("ledger", "mariadb")}
# Has the shell show, while it runs, what any user of the host can see of it.
LOOK = r"\! ps -eww -o args"


def test_the_database_s_shell_needs_no_password_and_shows_none(machine: Machine) -> None:
    site, client = SHELLS[machine.name]
    said = machine.output(f"printf '%%s\\n' 'select 6 * 7;' %s | {site}-ctl db", LOOK)
    assert "42" in said.split()
    assert any(line.split()[0].endswith(client) for line in said.splitlines() if line.strip())
    assert "only-for-tests" not in said
