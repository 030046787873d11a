"""A deploy that is caught at a chosen moment: its step on the host is stopped there."""

from __future__ import annotations

from support import Site

# Runs on the host: waits for a moment of the deploy under way, stops the process that is at work on it there, and
# prints its PID. A stopped process does nothing more until it is killed or let go on.
CATCH = r"""
import os, signal, sys, time
root, site, moment = sys.argv[1:]
lock = f"/run/sites/{site}.lock"
live, known = os.readlink(f"{root}/live"), set(os.listdir(f"{root}/releases"))
idle = f"{root}/slots/" + {"blue": "green", "green": "blue"}[os.path.basename(live)]

def new(name):
    fresh = set(os.listdir(f"{root}/releases")) - known
    return any(os.path.lexists(f"{root}/releases/{release}/{name}") for release in fresh)

def worker():
    inode = os.stat(lock).st_ino
    for line in open("/proc/locks"):
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])

moments = {
    "installing": lambda: new("venv"),
    "migrating": lambda: os.path.exists(f"{root}/shared/data/before_start"),
    "starting": lambda: os.path.lexists(f"{idle}/release"),
    "asking": lambda: os.path.exists(f"{idle}/sock"),
    "switching": lambda: os.readlink(f"{root}/live") != live,
    "telling": lambda: os.path.exists(f"{root}/shared/data/after_live"),
}
end = time.monotonic() + 300
while time.monotonic() < end:
    if moments[moment]() and (pid := worker()):
        os.kill(pid, signal.SIGSTOP)
        sys.exit(print(pid))
    time.sleep(0.001)
sys.exit(f"{moment} did not come")
"""
MOMENTS = ("installing", "migrating", "starting", "asking", "switching", "telling")


def catch(site: Site, moment: str) -> str:
    """Wait for a moment of the deploy under way, and stop its step on the host there; answers its PID."""
    return site.machine.output("python3 -c %s %s %s %s", CATCH, site.root, site.name, moment)
