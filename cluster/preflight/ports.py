"""Whether the ports that a project will open are free here."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping

from cluster.preflight.finding import Finding

ASK_S = 5.0


def check_port(ports: Mapping[str, tuple[str, int]]) -> Iterator[Finding]:
    """Host and port by the name of the setting. A port at which an endpoint of ours answers is as it should be."""
    for setting, (host, port) in ports.items():
        reason = _taken(host, port)
        values = {"host": host, "port": port}
        if reason is None:
            yield Finding("port", "ok", f"{setting}: {port} is free", values=values)
        elif is_endpoint("127.0.0.1" if host in ("", "0.0.0.0", "::") else host, port):
            yield Finding("port", "ok", f"{setting}: an endpoint answers at {port}", values=values)
        else:
            yield Finding(
                "port", "failed", f"{setting}: {port} on {host} cannot be opened: {reason}",
                f"Set {setting} to another port or address, or stop what listens there (`ss -ltnp` names it).",
                values=values,
            )  # fmt: skip


def _taken(host: str, port: int) -> str | None:
    """Why it cannot be opened; None where it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def is_endpoint(host: str, port: int) -> bool:
    """Whether a Tandem endpoint listens there: /health is ok, or an error in OpenAI's shape while an engine starts."""
    connection = http.client.HTTPConnection(host, port, timeout=ASK_S)
    try:
        connection.request("GET", "/health")
        answer = json.loads(connection.getresponse().read(1000))
        return isinstance(answer, dict) and (answer.get("status") == "ok" or "type" in answer.get("error", {}))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
