"""Which kind of forward proxy a client came through."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def parsed(text: str) -> Address | None:
    """Read an address as proxies write it, with or without a port; None when it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def proxy_kind(seen: str, via: str = "", forwarded_for: str = "", my_address: str | None = None) -> str:
    """Name the kind of proxy, from what a site can see.

    ============= ============== ================================
    kind          tells of itself tells of the client
    ============= ============== ================================
    transparent   yes            the address
    anonymous     yes            nothing
    distorting    yes            a false address, or none at all
    elite         no             nothing
    ============= ============== ================================

    A site alone can't tell an elite proxy from none, nor a well-formed lie from the truth. Whoever tells it his own
    address gets an exact answer (not behind a NAT, which has a third address).

    :param seen: the address from which the connection came
    :param via: what the client's side said in ``Via``
    :param forwarded_for: what the client's side said in ``X-Forwarded-For``
    :param my_address: the client's own address, when told
    """
    mine = parsed(my_address) if my_address else None
    # Squid writes "unknown" when it is told to say nothing of its clients: that is no lie.
    told = [entry for entry in forwarded_for.split(",") if entry.strip() not in {"", "-", "unknown"}]
    if not via.strip() and not told:
        if mine is None:
            return "none or elite"
        return "none" if mine == parsed(seen) else "elite"
    if not told:
        return "anonymous"
    client = parsed(told[0])
    true = client is not None and not client.is_unspecified if mine is None else client == mine
    return "transparent" if true else "distorting"
