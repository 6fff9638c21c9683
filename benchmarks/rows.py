"""Training rows with the lengths of an instruction data set, for the training benchmark.

Lengths are log-normal, as those of instruction sets are; the median of 90 words and the spread are our choice.
"""

import json
from pathlib import Path
from random import Random

MEDIAN, SPREAD, LONGEST = 90, 0.8, 380


def write_rows(path: Path, num_rows: int, seed: int = 0) -> Path:
    """Prompt and completion, about a quarter and three quarters of each row's length in short words."""
    rng = Random(seed)
    words = ("the", "of", "is", "in", "city", "name", "river", "high", "large", "number")
    with path.open("w") as file:
        for number in range(num_rows):
            length = int(min(LONGEST, max(8, rng.lognormvariate(0, SPREAD) * MEDIAN)))
            prompt = " ".join(rng.choices(words, k=length // 4))
            answer = " ".join(rng.choices(words, k=length - length // 4))
            file.write(json.dumps({"prompt": f"{number} {prompt}", "completion": answer}) + "\n")
    return path
