"""Finds the proxy that the environment names for a server."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import httpx2

from overlap.extras import MissingExtraError, require

from .errors import ServerError, shown

SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True)
class EnvironmentProxy:
    """A proxy that the environment names for a server.

    Attributes:
        variable: The variable that names it, or the system's settings.
        url: With its password, which messages do not show.
        remedy: How to avoid it.
    """

    variable: str
    url: httpx2.URL
    remedy: str

    def __str__(self) -> str:
        return f"the proxy {shown(self.url)} that {self.variable} names"


def environment_proxy(server: httpx2.URL) -> EnvironmentProxy | None:
    """Return the proxy that the environment names for a server; addresses of this machine need none.

    Args:
        server: The server's URL.

    Raises:
        ServerError: One that cannot be used; the message names variable and remedy.
    """
    if is_this_machine(server.host) or _is_in_no_proxy(server.host):
        return None
    named = getproxies()
    kind = server.scheme if named.get(server.scheme) else "all"
    if not (given := named.get(kind)):
        return None
    names = (f"{kind}_proxy", f"{kind.upper()}_PROXY")
    variable = next((name for name in names if os.environ.get(name)), "the system's proxy setting")
    remedy = f"add {server.host} to NO_PROXY to reach it without"
    try:
        url = httpx2.URL(given if "://" in given else f"http://{given}")
    except (httpx2.InvalidURL, ValueError) as error:
        why = "" if "@" in given else f" ({error})"  # which may quote a password
        raise ServerError(f"{variable} is not the URL of a proxy{why}; correct it, or {remedy}") from error
    found = EnvironmentProxy(variable, url, remedy)
    if url.scheme not in SCHEMES or not url.host or (url.port or 0) > 65_535:
        raise ServerError(
            f"{found} cannot be used: it needs one of the schemes {', '.join(SCHEMES)}, a host and a port "
            f"below 65,536; correct it, or {remedy}"
        )
    if url.scheme.startswith("socks"):
        try:
            require("socksio", purpose=f"{found} is a SOCKS proxy, which")
        except MissingExtraError as error:
            raise ServerError(f"{error}; or {remedy}") from error
    return found


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine.

    >>> [is_this_machine(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "a.localhost")]
    [True, True, True, True, True]
    >>> [is_this_machine(host) for host in ("192.0.2.1", "example.org")]
    [False, False]
    """
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost") or host == socket.gethostname().lower():
        return True
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_in_no_proxy(host: str) -> bool:
    """Return whether NO_PROXY names a host: by name, by ending, or by network, as curl and Go read it."""
    if proxy_bypass(host):
        return True
    address = _address(host)
    entries = (entry.strip() for entry in getproxies().get("no", "").split(",") if "/" in entry)
    return address is not None and any(_network_contains(entry, address) for entry in entries)


def _network_contains(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
