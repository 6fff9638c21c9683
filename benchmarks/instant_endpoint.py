"""An OpenAI-compatible endpoint that answers at once, so that only what asks it is measured.

python -m benchmarks.instant_endpoint 8099

Arms that retrieve (`+` in the model's name) get three passages of 500 characters with their answer.
"""

import asyncio
import json
import sys
from typing import Any, ClassVar

PASSAGE = "The value of the thing is told in this passage, among other things that a document may hold. " * 6


def body(model: str) -> bytes:
    """The answer's bytes for a model name; the same for every question."""
    text = "The value is 7 [1]." if "+" in model else "The value is 8."
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}
    found: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    if "+" in model:
        found["citations"] = [
            {"id": str(index), "index": index, "source": f"docs/{index}.md", "title": f"Page {index}", "score": 0.5,
             "cited": index == 1, "also_in": [], "text": PASSAGE[:500]}
            for index in (1, 2, 3)
        ]  # fmt: skip
    return json.dumps({**found, "usage": usage}).encode()


class Instant(asyncio.Protocol):
    """Just enough of HTTP/1.1 for clients that send a Content-Length and keep their connection."""

    known: ClassVar[dict[bytes, bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, rest = self.received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not separator or len(rest) < length:
            return
        self.received = rest[length:]
        model = json.loads(rest[:length])["model"].encode()
        if model not in self.known:
            answer = body(model.decode())
            header = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            self.known[model] = header.encode() + answer
        self.transport.write(self.known[model])  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
