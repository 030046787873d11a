"""A deploy that is paused in a chosen phase: its process on the host gets SIGSTOP there."""

from __future__ import annotations

from support import Site

# Runs on the host: waits for a phase of the deploy, stops the process that holds the site's lock, and prints its PID.
# A stopped process does nothing until it is killed or continued.
PAUSE = r"""
import os, signal, sys, time
root, site, phase = sys.argv[1:]
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

phases = {
    "installing": lambda: new("venv"),
    "before_start": lambda: os.path.exists(f"{root}/shared/data/before_start"),
    "starting": lambda: os.path.lexists(f"{idle}/release"),
    "health check": lambda: os.path.exists(f"{idle}/sock"),
    "switching": lambda: os.readlink(f"{root}/live") != live,
    "after_live": lambda: os.path.exists(f"{root}/shared/data/after_live"),
}
end = time.monotonic() + 300
while time.monotonic() < end:
    if phases[phase]() and (pid := worker()):
        os.kill(pid, signal.SIGSTOP)
        sys.exit(print(pid))
    time.sleep(0.001)
sys.exit(f"the deploy never came to the phase {phase}")
"""
PHASES = ("installing", "before_start", "starting", "health check", "switching", "after_live")


def pause_at(site: Site, phase: str) -> str:
    """Wait for a phase of the running deploy, and stop its process on the host; returns the PID."""
    return site.machine.output("python3 -c %s %s %s %s", PAUSE, site.root, site.name, phase)
