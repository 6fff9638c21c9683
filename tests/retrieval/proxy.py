"""TLS in front of a server that has none: certificates made by openssl, and a proxy that ends the encryption."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """An authority, and a key and a certificate that it signed for one name."""

    authority: Path
    key: Path
    certificate: Path


def make_certificates(folder: Path, name: str) -> Certificates:
    """`name` is `DNS:...` or `IP:...`, as openssl writes it."""
    folder.mkdir()
    made = Certificates(folder / "ca.pem", folder / "server.key", folder / "server.pem")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    authority_key, request, extension = folder / "ca.key", folder / "server.csr", folder / "san.ext"
    extension.write_text(f"subjectAltName={name}\n")
    _run([*new, "-x509", "-keyout", authority_key, "-out", made.authority])
    _run([*new, "-keyout", made.key, "-out", request])
    signed = ["-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2", "-extfile", extension]
    _run(["openssl", "x509", "-req", "-in", request, "-out", made.certificate, *signed])
    return made


@contextmanager
def tls_in_front_of(port: int, certificates: Certificates) -> Iterator[int]:
    """The port of a proxy on loopback that hands everything on to `port`, in a thread of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.set_alpn_protocols(["h2"])
    loop, ready = asyncio.new_event_loop(), threading.Event()
    servers: list[asyncio.Server] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    def run() -> None:
        asyncio.set_event_loop(loop)
        servers.append(loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)))
        ready.set()
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield servers[0].sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True)
