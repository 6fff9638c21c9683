"""Measure a reader on the quickstart's own questions with their right passages, without retrieval in between.

    python -m examples.reader.quickstart --model DIR --write

Each question is asked with its right passage alone, with two others of the same kind around it, and with those two
alone, where only "I do not know" is right. Graded as `tandem compare` grades: the value counts, the mark does not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluation.grading.grading import grade
from evaluation.questions.files import load_questions
from evaluation.questions.question import Question
from examples.reader.evaluate import Item, generate
from retrieval.prompt import Passage, render_system

FOLDER = Path(__file__).parents[1] / "quickstart"
SLICES = ("unseen", "changed", "seen")


def main() -> None:
    """Print the shares of right answers, and add them to evaluation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    documents = {path.relative_to(FOLDER / "docs").as_posix(): _passage(path) for path in _paths()}
    questions = load_questions(FOLDER / "data" / "questions.jsonl")
    scores = {}
    for name in SLICES:
        chosen = [question for question in questions if question.slice == name]
        for title, num_right, num_others in (("alone", 1, 0), ("among 3", 1, 2), ("taken away", 0, 2)):
            rng = Random(f"{name} {title}")
            items = [_item(rng, question, documents, num_right, num_others) for question in chosen]
            asked = chosen if num_right else [_unanswerable(question) for question in chosen]
            answers = generate(model, tokenizer, items)
            right = [grade(question, answer).correct for question, answer in zip(asked, answers, strict=True)]
            scores[f"{name}, right passage {title}"] = round(sum(right) / len(right), 4)
    print(json.dumps(scores, indent=2))
    if args.write:
        file = args.model / "evaluation.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"quickstart": scores}, indent=2) + "\n")


def _paths() -> list[Path]:
    return sorted((FOLDER / "docs").rglob("*.md"))


def _passage(path: Path) -> Passage:
    heading, _, text = path.read_text().partition("\n\n")
    return Passage(heading.removeprefix("# "), text.strip())


def _item(rng: Random, question: Question, documents: dict[str, Passage], num_right: int, num_others: int) -> Item:
    kind = question.sources[0].split("/")[0]
    others = [name for name in documents if name.startswith(f"{kind}/") and name not in question.sources]
    names = [*question.sources[:num_right], *rng.sample(others, num_others)]
    rng.shuffle(names)
    return Item(render_system([documents[name] for name in names]), question.question, "")


def _unanswerable(question: Question) -> Question:
    return question.model_copy(update={"answerable": False, "answers": [], "sources": []})


if __name__ == "__main__":
    main()
