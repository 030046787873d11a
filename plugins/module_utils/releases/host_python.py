"""The host's Python: its version, and its tags and markers for wheels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError

PYTHON = Path("/usr/bin/python3")


def python_version(python: Path = PYTHON) -> str:
    """The minor version, such as ``3.11``; a new one needs new venvs."""
    if os.path.realpath(sys.executable) == os.path.realpath(python):
        return f"{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


TARGET = """
import json, os, platform, sys, sysconfig
version = sys.implementation.version
print(json.dumps({
    "markers": {
        "implementation_name": sys.implementation.name,
        "implementation_version": "%d.%d.%d" % version[:3],
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
    "platform": sysconfig.get_platform(),
    "libc": platform.libc_ver(),
}))
"""


def target(python: Path = PYTHON) -> dict:
    """The platform that wheels must support.

    :returns: ``{"markers": {name: value}, "platform": "linux-x86_64", "libc": ["glibc", "2.36"]}``; the markers of
    PEP 508
    """
    try:
        done = subprocess.run(
            [str(python), "-I", "-S", "-c", TARGET], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{python} does not start: {error}") from error
    return json.loads(done.stdout)
