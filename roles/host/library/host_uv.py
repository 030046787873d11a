#!/usr/bin/python3
"""uv, the installer that builds the sites' virtual environments, from a hashed lock."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.daemons.fetching import proxy_environment, without_passwords

DOCUMENTATION = r"""
module: host_uv
short_description: Install uv for the bundle's own use
description:
  - Has the pip of Debian's C(python3-pip-whl) fetch the wheel that the lock names, with its hash, and renames the
    program into C(/usr/local/lib/sites/uv). A copy of the lock beside it says which one it is.
options:
  requirements:
    description: The text of a requirements file with hashes that locks uv alone.
    type: str
    required: true
  index:
    description: URL of a package index to use in place of PyPI. It may hold a password, so it is never printed.
    type: str
    default: ""
  http_proxy:
    description: URL of the proxy to reach it through. It may hold a password, so it is never printed.
    type: str
    default: ""
  no_proxy:
    description: Names that are reached without the proxy, as a comma-separated list.
    type: str
    default: ""
"""

RETURN = r"""
changed: {description: Whether uv was installed., type: bool, returned: always}
"""

LIBRARY = Path("/usr/local/lib/sites")
PIP = "/usr/share/python-wheels/pip-*.whl"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def installed(requirements: str) -> bool:
    """Whether the uv of this very lock is there."""
    try:
        return (LIBRARY / "uv.txt").read_text(encoding="utf-8") == requirements and (LIBRARY / "uv").exists()
    except FileNotFoundError:
        return False


def install(module: AnsibleModule) -> None:
    """Fetch it and rename it into its place."""
    given = module.params
    LIBRARY.mkdir(mode=0o755, parents=True, exist_ok=True)
    pips = sorted(glob.glob(PIP))
    if not pips:
        module.fail_json(msg="No pip under /usr/share/python-wheels. Install Debian's package python3-pip-whl.")
    # Beside its place, so that the last step is a rename.
    with tempfile.TemporaryDirectory(prefix=".uv-", dir=LIBRARY) as folder:
        lock = Path(folder, "uv.txt")
        lock.write_text(given["requirements"], encoding="utf-8")
        command = ["/usr/bin/python3", f"{pips[-1]}/pip", "install", "--quiet", "--no-cache-dir", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
        command += ["--target", f"{folder}/out", "--requirement", str(lock)]
        # Not as arguments, which every user of the host may read.
        environment = proxy_environment(given["http_proxy"], given["no_proxy"])
        if given["index"]:
            environment["PIP_INDEX_URL"] = given["index"]
        if os.path.exists(BUNDLE):
            environment["PIP_CERT"] = BUNDLE
        status, _out, errors = module.run_command(command, environ_update=environment)
        if status:
            last = "\n".join(without_passwords(errors).strip().splitlines()[-5:])
            module.fail_json(
                msg=f"uv could not be fetched from the package index:\n{last}\n"
                "If this host reaches the index only through a proxy or a mirror, set host_http_proxy or "
                "host_package_index; if its certificate is not trusted, add it to host_ca_certificates."
            )
        lock.chmod(0o644)
        os.replace(Path(folder, "out/bin/uv"), LIBRARY / "uv")
        os.replace(lock, LIBRARY / "uv.txt")


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
