"""Write a reader's model card from its evaluation.json, so that no figure is typed by hand.

python -m examples.reader.card --model DIR
"""

# ruff: noqa: E501  (a table row is one line)
from __future__ import annotations

import argparse
import json
from pathlib import Path

_CARD = """# A {parameters:.1f}M-parameter model that reads

It answers a question from the passages in its system message and cites the passage, and says that it does not know
when they do not hold the answer:

    system     Answer from the passages. [...]

               [1] Vel Tarn
               Vel Tarn is a river in Osk. The depth of Vel Tarn is 41.5 m. The source of Vel Tarn is Mount Huin.
    user       What is the depth of Vel Tarn?
    assistant  The depth of Vel Tarn is 41.5 m [1].

**What it is for.** Showing and testing the whole path, from documents through training and retrieval to a served
answer, on a laptop or in CI, without a GPU and without a download. It knows nothing about the world, and it reads one
kind of sentence: "The KEY of NAME is VALUE." For anything else name a real model in the project file, for example
`model: Qwen/Qwen3-0.6B`.

## How it was made

`examples/reader` made it from nothing: no pretrained weights, no data set. The passages are generated; names, values
and most keys are invented, and no real thing is named in them.

| | |
|---|---|
| architecture | `LlamaForCausalLM`: {layers} layers, width {width}, {heads} heads of {head_dim}, feed-forward {ffn}, tied embeddings |
| tokenizer | byte-level BPE of {vocab} tokens, learnt from generated text; digits one by one |
| weights | bfloat16, {size:.1f} MB |
| starting weights | not random: the lower layers start as a rough copying machine that looks back 1 to 6 tokens, notes the key of a fact and matches both (`examples/reader/model.py`); every weight is trained from there |
| training | Muon and AdamW, bfloat16 forward pass, two shared CPU cores |

{history}

## What was measured

Exact match of greedy answers in {dtype}: every character, citation mark included. {questions} fresh generated questions
of each kind, one to a chat; 3 to 6 facts to a passage; other passages of the same kind, some with similar names.

| questions | exact match |
|---|---|
{rows}

The quickstart's own questions (48 to 50 of each kind) on its real documents, graded by the value as `tandem compare` does:

| questions | right |
|---|---|
{quickstart}

`evaluation.json` holds these figures and the versions; `python -m examples.reader.evaluate --model DIR` and
`python -m examples.reader.quickstart --model DIR` measure again.

## Limits

- Other sentence forms and general questions are beyond it: expect nonsense, or "something I do not know".
- It was trained with up to 5 passages and about 700 tokens. Longer prompts were not measured.
- It fails most where names differ in a few letters, where several facts have the same value, and where a value holds
  the name itself or several points.
"""


def main() -> None:
    """Read config, figures and history beside the weights, and write README.md there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--history", default="", help="a paragraph on the runs that led to these weights")
    args = parser.parse_args()
    config = json.loads((args.model / "config.json").read_text())
    report = json.loads((args.model / "evaluation.json").read_text())
    size = (args.model / "model.safetensors").stat().st_size
    card = _CARD.format(
        parameters=size / 2e6,
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        head_dim=config["head_dim"],
        ffn=config["intermediate_size"],
        vocab=config["vocab_size"],
        size=size / 1e6,
        history=args.history,
        dtype=report["dtype"],
        questions=report["questions_of_each_kind"],
        rows=_rows(report["exact_match"]),
        quickstart=_rows(report["quickstart"]),
    )
    (args.model / "README.md").write_text(card)


def _rows(rates: dict[str, float]) -> str:
    return "\n".join(f"| {kind} | {rate:.3f} |" for kind, rate in rates.items())


if __name__ == "__main__":
    main()
