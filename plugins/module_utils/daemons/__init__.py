"""nginx, supervisord and systemd units: file ownership, atomic installation, and the loaded configuration."""
