#!/usr/bin/python
"""Install uv, which builds the sites' virtual environments, from a hashed lock."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_uv
short_description: Install uv for the collection's own use
description:
  - Downloads the wheel of the lock, with its hash, by the pip of Debian's C(python3-pip-whl), and renames the program
    to C(/usr/local/lib/sites/uv). A copy of the lock beside it records the version.
options:
  requirements:
    description: Text of a requirements file with hashes that locks only uv.
    type: str
    required: true
  index:
    description: URL of a package index to use in place of PyPI. It can contain a password and is never printed.
    type: str
    default: ""
  http_proxy:
    description: URL of the proxy to reach it through. It can contain a password and is never printed.
    type: str
    default: ""
  no_proxy:
    description: Names that are reached without the proxy, as a comma-separated list.
    type: str
    default: ""
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Install uv from its hashed lock
  wsgi.sites.host_uv:
    requirements: "{{ lookup('ansible.builtin.file', 'uv.txt') }}"
"""

RETURN = r"""
changed: {description: Whether uv was installed., type: bool, returned: always}
"""

import glob
import os
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.proxy import proxy_environment, without_passwords
from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile, pip

LIBRARY = Path("/usr/local/lib/sites")
PIP = "/usr/share/python-wheels/pip-*.whl"
# The account that pip runs as, the same as for uv.
ACCOUNT = build_account.ACCOUNT
PATIENCE = 900
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def installed(requirements: str) -> bool:
    """Whether uv is installed from exactly this lock."""
    try:
        return (LIBRARY / "uv.txt").read_text(encoding="utf-8") == requirements and (LIBRARY / "uv").exists()
    except FileNotFoundError:
        return False


def install(module: AnsibleModule) -> None:
    """Download uv and rename it into place."""
    given = module.params
    LIBRARY.mkdir(mode=0o755, parents=True, exist_ok=True)
    pips = sorted(glob.glob(PIP))
    if not pips:
        module.fail_json(msg="No pip under /usr/share/python-wheels. Install Debian's package python3-pip-whl.")
    try:
        who = build_account.account(ACCOUNT) if ACCOUNT and os.geteuid() == 0 else None
        lock = lockfile.parse(given["requirements"])
    except (build_account.BuilderError, lockfile.LockError) as error:
        module.fail_json(msg=f"uv cannot be installed: {error}")
    command = ["/usr/bin/python3", "-I", f"{pips[-1]}/pip"]
    listed = module.run_command([*command, "config", "list"])
    settings = {"cert": BUNDLE} if os.path.exists(BUNDLE) else {}
    settings |= pip.read_settings(listed[1])
    # On the same filesystem, so that the last step is a rename.
    with tempfile.TemporaryDirectory(prefix=".uv-", dir=LIBRARY) as folder, build_account.passable(LIBRARY):
        requirements = Path(folder, "uv.txt")
        requirements.touch(0o600)
        # The file also has the index URL, since every user of the host can read arguments.
        requirements.write_text(lock.text(pip.where([lock], given["index"], settings)), encoding="utf-8")
        build_account.give(Path(folder), who)
        fetch(
            module,
            [*command, "install", "--target", f"{folder}/out", "--requirement", str(requirements)],
            settings,
            who,
        )
        program = LIBRARY / ".uv.new"
        build_account.take_out(Path(folder, "out/bin/uv"), who, program)
    copy = LIBRARY / ".uv.txt.new"
    copy.write_text(given["requirements"], encoding="utf-8")
    copy.chmod(0o644)
    os.replace(program, LIBRARY / "uv")
    os.replace(copy, LIBRARY / "uv.txt")


def fetch(
    module: AnsibleModule, command: list[str], settings: dict[str, str], who: build_account.Account | None
) -> None:
    """Download and unpack it by pip, as an account that owns nothing."""
    folder = Path(command[-1]).parent
    environment = pip.environment(str(folder), settings)
    environment |= proxy_environment(module.params["http_proxy"], module.params["no_proxy"])
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    try:
        done = build_account.run([*command, *options], cwd=folder, environment=environment, who=who, timeout=PATIENCE)
        status, errors = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        status, errors = 1, f"pip did not end within {PATIENCE // 60} minutes"
    if status:
        last = "\n".join(without_passwords(errors).strip().splitlines()[-5:])
        module.fail_json(
            msg=f"uv could not be downloaded from the package index:\n{last}\n"
            "If this host reaches the index only through a proxy or a mirror, set host_http_proxy or "
            "host_package_index; if its certificate is not trusted, add it to host_ca_certificates."
        )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "str", "required": True},
            "index": {"type": "str", "default": "", "no_log": True},
            "http_proxy": {"type": "str", "default": "", "no_log": True},
            "no_proxy": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    changed = not installed(module.params["requirements"])
    if changed and not module.check_mode:
        install(module)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
