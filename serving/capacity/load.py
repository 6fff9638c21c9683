"""A load generator for an OpenAI-compatible endpoint: so many clients, each with its next question after its answer.

    load = asyncio.run(Clients({"url": "http://127.0.0.1:8000/v1", "model": "base", "key": None, "concurrency": 8,
                                "num_tokens": 64}, prompts).run())

`vllm bench serve` needs the package's own metadata, which the CPU build of vLLM does not carry.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Load:
    """What was measured: seconds, of all answers that ended well; `refused_s` are those of answers with status 429."""

    seconds: float
    first_token_s: list[float]
    per_token_s: list[float]
    answer_s: list[float]
    refused_s: list[float]
    failed: list[str]
    cpu_s: float = 0.0
    """Processor time that the clients themselves took."""

    @property
    def requests_per_s(self) -> float:
        return len(self.answer_s) / self.seconds

    @property
    def ttft_p50_s(self) -> float:
        return median(self.first_token_s)

    @property
    def ttft_p95_s(self) -> float:
        return quantiles(self.first_token_s, n=20)[18]

    @property
    def tpot_p50_s(self) -> float:
        return median(self.per_token_s)


class Clients:
    """`concurrency` clients that share the prompts.

    Args:
        asked: `url` (with /v1), `model`, `key`, `concurrency`, `num_tokens` of each answer, and `comes_back`:
            wait after a refusal for as long as it says.
    """

    def __init__(self, asked: dict[str, Any], prompts: Iterable[str]) -> None:
        self.asked, self.load, self.prompts = asked, Load(0.0, [], [], [], [], []), iter(prompts)

    async def run(self) -> Load:
        headers = {"Authorization": f"Bearer {self.asked['key']}"} if self.asked.get("key") else {}
        timeout, connections = aiohttp.ClientTimeout(total=600), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connections) as session:
            started, used = time.perf_counter(), time.process_time()
            await asyncio.gather(*(self._client(session) for _ in range(self.asked["concurrency"])))
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - used
        return Load(**{**asdict(self.load), "seconds": seconds, "cpu_s": cpu_s})

    async def _client(self, session: aiohttp.ClientSession) -> None:
        for prompt in self.prompts:
            await self._ask(session, prompt)

    async def _ask(self, session: aiohttp.ClientSession, prompt: str) -> None:
        body = {
            "model": self.asked["model"], "messages": [{"role": "user", "content": prompt}], "stream": True,
            "max_tokens": self.asked["num_tokens"], "temperature": 0, "ignore_eos": True,
        }  # fmt: skip
        started = time.perf_counter()
        first = last = None
        async with session.post(f"{self.asked['url']}/chat/completions", json=body) as response:
            if response.status != 200:
                await response.read()
                took = time.perf_counter() - started
                if response.status == 429:
                    self.load.refused_s.append(took)
                    if self.asked.get("comes_back"):  # when it is told to, as OpenAI's client does
                        await asyncio.sleep(int(response.headers["retry-after-ms"]) / 1e3)
                else:
                    self.load.failed.append(f"status {response.status}")
                return
            async for line in response.content:
                if line.startswith(b"data: {") and b'"role":"assistant"' not in line:
                    last = time.perf_counter()
                    first = first or last
        if first is None or last is None:
            self.load.failed.append("no token")
            return
        self.load.first_token_s.append(first - started)
        self.load.per_token_s.append((last - first) / max(1, self.asked["num_tokens"] - 1))
        self.load.answer_s.append(time.perf_counter() - started)
