"""nginx, supervisord and systemd units: whose a file is, how it is placed, and what a daemon has read."""
