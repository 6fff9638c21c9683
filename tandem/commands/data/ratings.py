"""`tandem data ratings`: answers that callers rated, as rows that `training.objective: kto` learns from."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.project.project import load


def write_ratings(
    out: Annotated[Path, typer.Argument(help="The JSONL file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write the answers that callers rated as rows for `training.objective: kto`.

    They are in the files `kept-*.jsonl` that the endpoint writes for keys made with `tandem keys create --keep`. Of
    several ratings of an answer the last one counts. Answers from documents are left out: the row would hold the
    question without the passages that the model had read.
    """
    console, project = Console(as_json), load(config)
    if out.exists() and not force:
        raise TandemError(f"{out} is there already.", "A new file.", "Name another file, or add `--force`.")
    rows, left_out = rated_rows(sorted(project.storage.logs.glob("kept-*.jsonl")))
    if not rows:
        raise TandemError(
            f"No rated answer in {project.storage.logs} can be trained on"
            + "".join(f"; {number:,} {why}" for why, number in left_out.items()) + ".",
            "Answers to chats that callers with a key of `tandem keys create --keep` rated at /v1/feedback.",
            "Collect ratings first.",
        )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    num_up = sum(row["label"] for row in rows)
    also = "".join(f", {number:,} left out: {why}" for why, number in left_out.items())
    console.result(
        f"{num_up:,} desired and {len(rows) - num_up:,} undesired answers are written to {out}{also}.",
        {"path": str(out), "num_desired": num_up, "num_undesired": len(rows) - num_up, "left_out": dict(left_out)},
    )
    console.hint(f"set `training.objective: kto` and `training.data: {out}`, then run `tandem data check`.")


def rated_rows(files: list[Path]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """A row for each rated answer, by the time of the answer, and how many ratings are left out by reason.

    A rating may be in another file than its answer: each gateway writes a file of its own.
    """
    answers: dict[str, dict[str, Any]] = {}
    ratings: dict[str, dict[str, Any]] = {}
    for line in (line for file in files for line in _read_lines(file)):
        kept = ratings if "rating" in line else answers
        if str(line["time"]) >= str(kept.get(line["id"], line)["time"]):
            kept[line["id"]] = line
    rows, left_out = [], Counter[str]()
    for id, answer in sorted(answers.items(), key=lambda item: (str(item[1]["time"]), item[0])):
        if (rating := ratings.pop(id, None)) is None:
            continue
        if reason := _why_not(answer):
            left_out[reason] += 1
        else:
            messages = [*answer["question"], {"role": "assistant", "content": answer["answer"]}]
            shown = {key: answer[key] for key in ("tools", "chat_template_kwargs") if answer.get(key)}
            rows.append({"id": id, "messages": messages, **shown, "label": rating["rating"] == "up"})
    if ratings:
        left_out["the answer was not kept"] += len(ratings)
    return rows, left_out


def _why_not(answer: dict[str, Any]) -> str | None:
    """Why an answer cannot be trained on."""
    if not isinstance(answer.get("question"), list):
        return "no chat was asked"
    if answer.get("collection"):
        return "the answer was given from documents"
    return None if isinstance(answer.get("answer"), str) and answer["answer"].strip() else "the answer has no text"


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that are whole: the last one may be being written."""
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("id"), str) and "time" in line:
            yield line
