"""Keeps blocks from reaching into private networks (SSRF).

A host is resolved once, every address it has is checked, and the connection goes to exactly those addresses: a name that resolves
differently a moment later (DNS rebinding) gains nothing. TLS still names and verifies the host.
"""

import asyncio
import socket
import ssl
from collections.abc import Collection
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from services.block.sdk import BlockError

RESOLVE_TIMEOUT_S = 5.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BLOCKED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Unspecified, loopback, and IPv4 addresses in forms that are no longer used.
        "::/96",
        "::ffff:0:0:0/96",
        # NAT64 within one's own network.
        "64:ff9b:1::/48",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
# Prefixes whose addresses lead to the IPv4 address inside them: NAT64 in the last 32 bits, 6to4 in bits 16 to 48.
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_MASK = 0xFFFFFFFF


class AddressBlockedError(BlockError):
    """The address is not on the public internet."""


def is_public(address: str) -> bool:
    """Whether a block may connect to this IP address."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = IPv4Address(int(ip) & _IPV4_MASK)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None:
            return False
    return ip.is_global and not any(ip in network for network in _BLOCKED)


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order to try them. Raises BlockError when it has none."""
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise BlockError(f"The name {host} could not be resolved in time", kind="TimeoutError") from None
    except (OSError, UnicodeError) as error:
        raise BlockError(f"The name {host} could not be resolved", kind=type(error).__name__) from error
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to checked addresses only. One per request: a pooled connection would be known by address, not by verified host."""

    def __init__(self, allow_hosts: Collection[str] = ()) -> None:
        """`allow_hosts` are `host` or `host:port` that are let through whatever their address."""
        self._allow_hosts = frozenset(item.lower() for item in allow_hosts)
        self._inner = httpx.AsyncHTTPTransport(verify=_tls(), retries=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends to the first address that answers. Raises AddressBlockedError, BlockError or an error of httpx."""
        host = request.url.host
        port = request.url.port or _DEFAULT_PORTS[request.url.scheme]
        addresses = await resolve(host, port)
        if not self._allow_hosts & {host.lower(), f"{host.lower()}:{port}"} and not all(map(is_public, addresses)):
            raise AddressBlockedError(f"Access to blocked or private IP address is not allowed: {host}")
        for position, address in enumerate(addresses):
            try:
                return await self._inner.handle_async_request(_pinned(request, host, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if position == len(addresses) - 1:
                    raise
        raise httpx.ConnectError(f"{host} has no address")

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._inner.aclose()


def _pinned(request: httpx.Request, host: str, address: str) -> httpx.Request:
    """The same request (its Host header stays) to one address."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address.partition("%")[0]),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


@cache
def _tls() -> ssl.SSLContext:
    # Loading the certificate authorities takes milliseconds; the context is safe to share.
    return httpx.create_ssl_context(trust_env=False)
