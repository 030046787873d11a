"""Rules for names of sites and users."""

from __future__ import annotations

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.basic import (
    pattern,
)

# Names in use on Debian hosts in /etc, /srv, /var/log or as a user.
RESERVED_WORDS = """
root daemon bin sys sync games man lp mail news uucp proxy backup list irc gnats nobody sshd messagebus
polkitd ftp _apt www_data nginx apache2 apache uwsgi gunicorn supervisor supervisord sites site default shared
releases live adm apt alternatives bash cron cups dbus dhcp dpkg exim4 fonts fstab grub group gss gshadow
hostname hosts init init_d initramfs iptables journal kernel logrotate machine_id memcached modprobe motd mtab
mysql network networks nftables opt os_release pam passwd perl php postgresql postfix private profile
protocols python python3 rabbitmq redis resolv_conf rsyslog runit security selinux services shadow shells skel
ssh ssl subgid subuid sudo sudoers sysctl syslog systemd terminfo timezone tmpfiles ucf udev ufw
unattended_upgrades update vim wpa x11 xdg installer lastlog wtmp btmp faillog dmesg boot all none blue green
certbot fail2ban letsencrypt sites-uv
"""
RESERVED = frozenset(RESERVED_WORDS.split())
SYSTEM_USERS = RESERVED | {"www-data", "systemd-network", "systemd-resolve", "systemd-timesync", "unscd"}


def user(value: str) -> str | None:
    """A user of the site's own."""
    if str(value) in SYSTEM_USERS:
        return "is a user of the system; a site needs one of its own"
    return pattern(r"[a-z][a-z0-9_-]{0,29}", "use small letters, digits, _ and -, at most 30, beginning with a letter")(
        value
    )


def identifier(value: str) -> str | None:
    """The name of a site."""
    if str(value) in RESERVED:
        return "is taken by the system on every host; give the site another name"
    return pattern(r"[a-z][a-z0-9_]{0,29}", "use small letters, digits and _, at most 30, beginning with a letter")(
        value
    )
