"""TLS towards a Milvus server: what pymilvus is told, and why a handshake failed, which gRPC does not say."""

import socket
import ssl
from urllib.parse import urlsplit

from cluster.errors import TandemError
from retrieval.milvus_config import MilvusConfig

HTTPS = 443


def options(config: MilvusConfig) -> dict[str, str]:
    """Arguments of a MilvusClient.

    Raises:
        TandemError: `ca_file` holds no certificates.
    """
    found = {}
    if config.ca_file is not None:
        _context(config)
        found["server_pem_path"] = str(config.ca_file)
    if config.server_name is not None:
        found["server_name"] = config.server_name
    return found


def check(uri: str, config: MilvusConfig, timeout_s: float) -> None:
    """Shake hands with an https address that gRPC could not connect to.

    Raises:
        TandemError: the server's certificate is not trusted or is another server's, or it speaks no TLS.
    """
    address = urlsplit(uri)
    if address.scheme != "https" or address.hostname is None:
        return
    name = config.server_name or address.hostname
    try:
        with (
            socket.create_connection((address.hostname, address.port or HTTPS), timeout=timeout_s) as plain,
            _context(config).wrap_socket(plain, server_hostname=name),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise TandemError(
            f"The certificate of Milvus at {uri} is not trusted: {error.verify_message.rstrip('.')}.",
            "A certificate for the name in retrieval.uri, signed by an authority that this machine or "
            "retrieval.milvus.ca_file knows.",
            "Set retrieval.milvus.ca_file to the authority's certificate, or retrieval.milvus.server_name to the name.",
        ) from error
    except ssl.SSLError as error:
        raise TandemError(
            f"Milvus at {uri} does not speak TLS: {error.reason}.",
            "An https address is that of a server or proxy that speaks TLS.",
            "Write http:// in retrieval.uri if this server has none.",
        ) from error
    except OSError:
        return  # nobody there: that is what the caller says


def _context(config: MilvusConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TandemError(
            f"retrieval.milvus.ca_file {config.ca_file} cannot be read: {error.strerror or error}.",
            "A PEM file with the certificates of those who sign the server's.",
            "Correct the path, or leave the key out to trust the usual authorities.",
        ) from error
    context.set_alpn_protocols(["h2"])
    return context
