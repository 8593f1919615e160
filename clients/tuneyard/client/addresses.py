"""Of hosts and the addresses that they have."""

from ipaddress import ip_address


def is_address(host: str) -> bool:
    """Whether it is a number, IPv4 or IPv6 without brackets, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether what listens there can be reached from this machine alone."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)
