"""How much later the first token comes than from plain vLLM: both serve at once, and are asked in turn.

Measured one after the other the two differ by more than what is looked for: a machine is not equally fast for ten
minutes. Asked in pairs, first one and then the other first, what changes in the machine is in both.
"""

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from benchmarks.serving_arms import Arm, ours, plain_vllm, write_prompts

NUM_PAIRS, NUM_WARM = 60, 6
NUM_TOKENS_OUT = 4
PAUSE_S = 0.3
"""Long enough for the threads of the one that has answered to go to sleep."""


@dataclass(frozen=True)
class Pairs:
    """Seconds to the first token of the same prompts, ours and plain vLLM's."""

    ours_s: list[float]
    vllm_s: list[float]

    @property
    def added_p50_ms(self) -> float:
        return 1e3 * median(self._differences)

    @property
    def added_middle_ms(self) -> tuple[float, float]:
        """The first and the third quartile of the differences."""
        first, _, third = quantiles(self._differences, n=4)
        return 1e3 * first, 1e3 * third

    @property
    def _differences(self) -> list[float]:
        return [mine - other for mine, other in zip(self.ours_s, self.vllm_s, strict=True)]


def first_tokens(model: Path, folder: Path) -> Pairs:
    """Ask both for each of the prompts."""
    for name in ("ours", "vllm"):
        (folder / name).mkdir()
    with plain_vllm(model, folder / "vllm") as theirs, ours(model, folder / "ours") as mine:
        seconds: dict[str, list[float]] = {theirs.name: [], mine.name: []}
        prompts = json.loads(
            write_prompts(folder / "pairs.json", NUM_WARM + NUM_PAIRS, mine.num_tokens_in, seed=99).read_text()
        )
        for number, prompt in enumerate(prompts):
            for arm in (mine, theirs) if number % 2 else (theirs, mine):
                taken = first_token_s(arm, prompt)
                if number >= NUM_WARM:
                    seconds[arm.name].append(taken)
                time.sleep(PAUSE_S)
    return Pairs(seconds[mine.name], seconds[theirs.name])


def first_token_s(arm: Arm, prompt: str) -> float:
    """Seconds to the first token of one streamed answer, over a connection of its own."""
    body = {
        "model": arm.model, "messages": [{"role": "user", "content": prompt}], "stream": True,
        "max_tokens": NUM_TOKENS_OUT, "temperature": 0, "ignore_eos": True,
    }  # fmt: skip
    address = urlsplit(arm.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
    connection.connect()
    started = time.perf_counter()
    connection.request(
        "POST", f"{address.path}/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    first = None
    for line in answer:
        if first is None and line.startswith(b"data: {") and b'"role":"assistant"' not in line:
            first = time.perf_counter() - started
    connection.close()
    assert first is not None
    return first
