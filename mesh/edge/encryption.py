"""TLS at the edge: 1.2 with forward secrecy and 1.3, and certificates that are read anew when they are replaced."""

from typing import Any

from mesh.edge.policy import Tls

Json = dict[str, Any]

_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_NAME = "edge"
# What Mozilla calls intermediate, less what has no use with today's clients. TLS 1.3 has its own, all good.
_CIPHERS = [
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
]


def transport_socket(tls: Tls) -> Json:
    """The side of the listener. Its certificate comes by way of a file, because only then it is read again."""
    source = {"path_config_source": {"path": str(tls.secrets)}, "resource_api_version": "V3"}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                    "cipher_suites": _CIPHERS,
                },
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [{"name": _NAME, "sds_config": source}],
            },
        },
    }


def secrets(tls: Tls) -> Json:
    """The document at `tls.secrets`."""
    certificate = {
        "certificate_chain": {"filename": str(tls.certificate)},
        "private_key": {"filename": str(tls.key)},
        "watched_directory": {"path": str(tls.certificate.parent)},
    }
    return {"resources": [{"@type": f"{_TYPES}.Secret", "name": _NAME, "tls_certificate": certificate}]}
