import json
import random
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tandem.commands.data.data import print_rows, to_json
from training.config import TrainingConfig
from training.data.data_check import check_training_data, measure_lengths, render_sequence
from training.data.duplicates import find_duplicates, row_minhash
from training.data.encoding.encoded_rows import EncodedRows
from training.data.rows import read_rows
from training.data.tokenize import encode_usable_rows

TEXT = "the quick brown fox jumps over the lazy dog and runs far away from the old grey wolf in the dark wood"


def row(prompt: str, completion: str = "Yo") -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_duplicates_name_the_row_and_the_earlier_one(tmp_path: Path) -> None:
    rows = [row(TEXT), row("something else entirely"), row(TEXT), row(TEXT.replace("The", "the").upper())]
    held_out = [row(f"{TEXT} today"), row("something else entirely"), row("and a third that is like no other")]
    trained, kept = write(tmp_path / "t.jsonl", rows), write(tmp_path / "h.jsonl", held_out)
    report = read_rows(TrainingConfig(data=trained, held_out_data=kept))
    found = {each.where: each for each in find_duplicates(report.rows, report.held_out)}
    assert set(found) == {f"{trained}:3", f"{trained}:4", f"{kept}:1", f"{kept}:2"}
    assert (found[f"{trained}:3"].exact, found[f"{trained}:3"].between) == (True, False)
    assert (found[f"{trained}:4"].exact, found[f"{trained}:4"].similarity) == (False, 1.0)
    assert (found[f"{kept}:2"].exact, found[f"{kept}:2"].between) == (True, True)
    near = found[f"{kept}:1"]
    assert (near.exact, near.between, near.like) == (False, True, f"{trained}:1")
    assert 0.8 <= near.similarity < 1


def test_a_shared_system_message_makes_no_duplicates(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": word},
                      {"role": "assistant", "content": word}]}
        for word in ("one", "two")
    ]  # fmt: skip
    report = read_rows(TrainingConfig(data=write(tmp_path / "t.jsonl", rows)))
    assert find_duplicates(report.rows, []) == []


def test_a_signature_is_the_same_in_every_process(tmp_path: Path) -> None:
    """The numbers stand in published versions: another release of datasketch must not change them unseen."""
    (one,) = read_rows(TrainingConfig(data=write(tmp_path / "t.jsonl", [row("Hi there", "Yo")]))).rows
    assert row_minhash(one, 4).hashvalues.tolist() == [2628502740, 354421842, 103807762, 3578692180]


def test_lengths_and_truncation(tmp_path: Path, model_folder: Path) -> None:
    # <s> <|user|> Hi <|end|> <|assistant|> answer <|end|>: 7 tokens and the answer's.
    rows = [row("Hi", "Y" * number) for number in (1, 2, 3, 10)]
    config = TrainingConfig(data=write(tmp_path / "t.jsonl", rows), sequence_length=12, held_out=0)
    checked = check_training_data(config, str(model_folder))
    assert checked.lengths is not None
    assert (checked.lengths.min, checked.lengths.median, checked.lengths.max) == (8, 10, 17)
    assert (checked.lengths.num_tokens, checked.lengths.num_learnt) == (44, 20)
    assert sum(each.num_rows for each in checked.lengths.histogram) == 4
    assert (checked.truncation.num_rows, checked.truncation.num_tokens) == (1, 5)
    assert checked.num_trained == 3
    assert [bad.reason for bad in checked.bad] == ["17 tokens long, and at most 12 are accepted"]


def test_rendered_rows_show_what_is_learnt(tmp_path: Path, make_tokenizer) -> None:
    report = read_rows(TrainingConfig(data=write(tmp_path / "t.jsonl", [row("Hï", "Yö")])))
    data = encode_usable_rows(report, tokenizer := make_tokenizer())
    rendered = render_sequence(tokenizer, "here", data.rows[0].sequences[0])
    assert rendered.pieces == (("<s><|user|>Hï<|end|><|assistant|>", False), ("Yö<|end|>", True))
    assert measure_lengths(EncodedRows([])) is None


@pytest.mark.slow
@pytest.mark.matrix
def test_ten_thousand_rows(tmp_path: Path, model_folder: Path) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=5)) for _ in range(2000)]
    rows = [row(" ".join(draw.choices(words, k=40)), " ".join(draw.choices(words, k=20))) for _ in range(10_000)]
    config = TrainingConfig(data=write(tmp_path / "t.jsonl", rows), sequence_length=500)
    start = time.perf_counter()
    checked = check_training_data(config, str(model_folder))
    print(f"10,000 rows of 60 words checked in {time.perf_counter() - start:.1f} s")
    assert (checked.num_trained, checked.num_held_out, checked.bad, checked.duplicates) == (9500, 500, (), ())


def test_keys_that_are_not_used_are_listed(tmp_path: Path, model_folder: Path) -> None:
    data = write(tmp_path / "t.jsonl", [{**row("Hi"), "score": "0.5"}, {**row("Ho"), "Source URL": "http://a"}])
    checked = check_training_data(TrainingConfig(data=data), str(model_folder))
    assert checked.sources[0].not_used == ("Source URL", "score")
    output = StringIO()
    print_rows(checked, Console(file=output))
    assert "\n  not used: Source URL, score\n" in output.getvalue()
    assert to_json(checked, 0)["sources"][0]["not_used"] == ("Source URL", "score")
