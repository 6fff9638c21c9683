"""How much later the first token comes than from plain vLLM: both serve at once, and are asked in turn.

python -m benchmarks.serving_first_token        # about six minutes on two cores

Measured one after the other the two differ by more than what is looked for: a machine is not equally fast for ten
minutes. Asked in pairs, first one and then the other first, what changes in the machine is in both.
"""

import http.client
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from benchmarks.results import row, write
from benchmarks.serving_arms import ENGINE, QUICKSTART, Arm, large_model, ours, plain_vllm, write_prompts

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


def main() -> None:
    """Measure both models, and write benchmarks/results/serving-first-token-<machine>.json."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("small", "150M"):
            folder = Path(scratch) / name
            folder.mkdir()
            model = QUICKSTART if name == "small" else large_model(folder / "model")
            rows += rows_of(name, first_tokens(model, folder))
    notes = (
        f"Plain vLLM and ours serve at once and are asked in turn, {NUM_PAIRS} pairs of the same prompt of 128 tokens, "
        f"a connection each, nothing else is asked; {ENGINE['dtype']}, eager. Added: the median of their "
        "differences. small: the quickstart's model, 3M parameters; 150M: random weights."
    )
    print(write("serving-first-token", rows, notes))


def rows_of(model: str, pairs: Pairs) -> list[dict[str, Any]]:
    first, third = pairs.added_middle_ms
    found = [
        row(f"ttft_p50_added_ms_c1: {model}", "ms", round(pairs.added_p50_ms, 2), "<= 10"),
        row(f"ttft_added_ms_c1, first quartile: {model}", "ms", round(first, 2)),
        row(f"ttft_added_ms_c1, third quartile: {model}", "ms", round(third, 2)),
        row(f"ttft_p50_ms_c1, ours: {model}", "ms", round(1e3 * median(pairs.ours_s), 2)),
        row(f"ttft_p50_ms_c1, plain vLLM: {model}", "ms", round(1e3 * median(pairs.vllm_s), 2)),
    ]
    for each in found:
        print(each, flush=True)
    return found


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


if __name__ == "__main__":
    main()
