"""Who may come to the edge, from where, over what, and how patient the edge is."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # The supervisor imports this module and must stay light.
    from mesh.settings import Settings


class PolicyError(ValueError):
    """A setting of the edge that makes no sense; the message names it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A listener with TLS beside the plain one. All files are PEM; a new certificate is taken when one is moved into their directory."""

    listen: str
    certificate: Path
    key: Path
    # Where the edge is told of the files.
    secrets: Path


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the edge waits, in seconds. Streams have no limit of their own: pings find out who is gone."""

    headers_s: float = 10.0
    request_s: float = 120.0
    # Of one that is not a stream, without a byte in either direction.
    idle_request_s: float = 300.0
    idle_connection_s: float = 300.0
    ping_every_s: float = 30.0
    ping_timeout_s: float = 10.0


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """See the settings `edge_*`. `origins` empty means pages of this machine."""

    origins: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    trusted_hops: int = 0
    geoip_database: Path | None = None
    denied_countries: tuple[str, ...] = ()
    tls: Tls | None = None
    patience: Patience = DEFAULT_PATIENCE


DEFAULT_POLICY = EdgePolicy()


def policy_of(settings: "Settings", secrets: Path) -> EdgePolicy:
    """The policy that the settings ask for; `secrets` is where the edge may keep what it is told of TLS. Raises PolicyError."""
    countries = _listed(settings.edge_deny_countries)
    if countries and settings.edge_geoip_database is None:
        raise PolicyError("TREADLE_EDGE_DENY_COUNTRIES needs TREADLE_EDGE_GEOIP_DATABASE.")
    return EdgePolicy(
        origins=tuple(_origin(text) for text in _listed(settings.edge_cors_origins)),
        allowed=tuple(_network("ALLOW", text) for text in _listed(settings.edge_allow_addresses)),
        denied=tuple(_network("DENY", text) for text in _listed(settings.edge_deny_addresses)),
        trusted_hops=settings.edge_trusted_hops,
        geoip_database=_file("GEOIP_DATABASE", settings.edge_geoip_database),
        denied_countries=tuple(text.upper() for text in countries),
        tls=_tls(settings, secrets),
    )


def address_range(text: str) -> Mapping[str, Any]:
    """A network as Envoy takes it."""
    network: IPv4Network | IPv6Network = ip_network(text)
    return {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}


def _tls(settings: "Settings", secrets: Path) -> Tls | None:
    certificate, key = settings.edge_tls_certificate, settings.edge_tls_key
    if not settings.edge_tls_listen:
        return None
    if certificate is None or key is None:
        raise PolicyError("TREADLE_EDGE_TLS_LISTEN needs TREADLE_EDGE_TLS_CERTIFICATE and TREADLE_EDGE_TLS_KEY.")
    host, _, port = settings.edge_tls_listen.rpartition(":")
    if not host or not port.isdecimal():
        raise PolicyError("TREADLE_EDGE_TLS_LISTEN must be host:port.")
    for name, path in (("TLS_CERTIFICATE", certificate), ("TLS_KEY", key)):
        _file(name, path)
    return Tls(settings.edge_tls_listen, certificate.absolute(), key.absolute(), secrets)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _origin(text: str) -> str:
    scheme, _, host = text.partition("://")
    if scheme not in {"http", "https"} or not host or set(host) & set("/?#@ ") or "*" in host.removeprefix("*."):
        raise PolicyError(f"TREADLE_EDGE_CORS_ORIGINS: {text} is no origin such as https://app.example or https://*.app.example.")
    return text.lower()


def _network(name: str, text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise PolicyError(f"TREADLE_EDGE_{name}_ADDRESSES: {error}.") from None


def _file(name: str, path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise PolicyError(f"TREADLE_EDGE_{name}: there is no file {path}.")
    return None if path is None else path.absolute()
