"""The environment and settings that git runs with: none of the operator's, and one login for one host."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_urls import ssh_target
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url, is_url, login

# Timeout of a connection in seconds.
CONNECT = 20
# The variables that git inherits: none with the operator's settings, another repository or a credential helper. Not
# HOME, which has ~/.netrc and ~/.gitconfig.
INHERITED = (
    "PATH", "TMPDIR", "USER", "LOGNAME", "SUDO_UID", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
    "ALL_PROXY", "no_proxy", "NO_PROXY", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_PROXY_SSL_CAINFO", "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)  # fmt: skip
# Only for ssh.
FOR_SSH = ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND")
# The operator's ssh settings for the route to a host, without keys.
ROUTE = (
    "hostname", "port", "proxycommand", "hostkeyalias", "userknownhostsfile", "globalknownhostsfile",
    "knownhostscommand", "hostkeyalgorithms", "kexalgorithms", "ciphers", "macs", "pubkeyacceptedalgorithms",
    "addressfamily", "bindaddress",
)  # fmt: skip
SETTINGS = """\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
[gc]
\tautoDetach = false
[maintenance]
\tautoDetach = false
[fetch]
\tunpackLimit = 1
\trecurseSubmodules = false
[http]
\tlowSpeedLimit = 100
\tlowSpeedTime = 60
\tfollowRedirects = initial
"""
# A credential helper that gives git a URL's login only for its host, without arguments, which `ps` shows to everyone.
HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$SITES_GIT_USER" "$SITES_GIT_PASSWORD"; }; f'


def environment(url: str, key: Path | None, settings: Path) -> dict[str, str]:
    """The environment of git: only the collection's settings, no prompts, and the login for this host.

    :param key: an SSH key that alone is offered
    """
    values = {name: os.environ[name] for name in INHERITED if name in os.environ}
    scheme = urlsplit(url).scheme.lower() if is_url(url) else "ssh"
    if scheme == "ssh":
        values |= {name: os.environ[name] for name in FOR_SSH if name in os.environ}
        values["GIT_SSH_COMMAND"] = ssh_command(url, key, values.get("GIT_SSH_COMMAND", "ssh"))
    values |= {
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(settings),
        "GIT_ATTR_NOSYSTEM": "1",
        # A local repository must not make git fetch missing objects from elsewhere.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        # No `ext::`, which runs commands, and no other protocol after a redirect, such as from https to http.
        "GIT_ALLOW_PROTOCOL": "http:https" if scheme == "http" else scheme,
        "LC_ALL": "C.UTF-8",
    }
    user, password = login(url)
    if (user or password) and scheme in ("http", "https"):
        host = f"credential.{urlsplit(clean_url(url))._replace(path='').geturl()}.helper"
        values |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": host, "GIT_CONFIG_VALUE_0": HELPER}
        values |= {"SITES_GIT_USER": user, "SITES_GIT_PASSWORD": password}
    return values


def ssh_command(url: str, key: Path | None, command: str) -> str:
    """The command for ssh. With a key of the site, no other key is offered, whatever the operator's settings are."""
    if key:
        command = shlex.join(["ssh", "-F", "none", *_ssh_options(url)])
        command += f" -o IdentitiesOnly=yes -i {shlex.quote(str(key))}"
    command += f" -o BatchMode=yes -o ConnectTimeout={CONNECT} -o ServerAliveInterval=15"
    # Only known hosts, since code from there runs on every host.
    return command + " -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ClearAllForwardings=yes"


def _ssh_options(url: str) -> list[str]:
    """The route to the host in the operator's ssh settings: another name or port, a jump host."""
    user, host, port = ssh_target(url) or ("", "", "")
    asked = ["ssh", "-G", *(["-p", port] if port else []), *(["-l", user] if user else []), "--", host]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=CONNECT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    options = []
    for line in done.stdout.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "proxyjump" and value != "none":
            # ssh would also use these options for the jump host, which has its own settings and keys.
            *first, last = value.split(",")
            last = last if is_url(last) else f"ssh://{last}"
            jump = shlex.join(["ssh", *(["-J", ",".join(first)] if first else []), "-W", "[%h]:%p", last])
            options += ["-o", f"proxycommand={jump}"]
        elif name in ROUTE and value and value != "none":
            options += ["-o", f"{name}={value}"]
    return options


def settings(trust: bool) -> str:
    """Git's settings.

    :param trust: for a repository of this machine: the folders of other users that the operator has told git to trust,
        which is all that is taken of the operator's settings
    """
    folders = _safe_folders() if trust else []
    return SETTINGS + "".join(f"[safe]\n\tdirectory = {quoted(folder)}\n" for folder in folders)


def _safe_folders() -> list[str]:
    command = ["git", "config", "--get-all", "-z", "safe.directory"]
    try:
        said = subprocess.run(command, cwd="/", capture_output=True, timeout=CONNECT, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [one for one in said.decode(errors="surrogateescape").split("\0") if one and "\n" not in one]


def quoted(value: str) -> str:
    """A value quoted for git's configuration."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
