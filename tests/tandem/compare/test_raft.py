"""Rows for retrieval-aware training, made from what an endpoint rendered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from retrieval.prompt import PROMPT_HASH, Passage, render
from tandem.compare.raft import REFUSAL, make_rows
from tests.evaluation.endpoint import Endpoint, completion
from training.config import DataSource, TrainingConfig
from training.data.rows import TrainingRow, check_rows

DOCUMENTS = {
    "docs/iron.md": ("Iron", "The symbol of Iron is Fe."),
    "docs/gold.md": ("Gold", "The symbol of Gold is Au."),
    "docs/tin.md": ("Tin", "The symbol of Tin is Sn."),
}


class Retrieving(Endpoint):
    """Finds the document that the question names first, then the others; `nin` keeps documents out."""

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        asked, retrieval = request["messages"][-1]["content"], request["retrieval"]
        out = retrieval.get("filter", {"value": []})["value"]
        if "Lead" in asked:
            return 503, {"error": {"message": "Milvus cannot be reached."}}
        names = sorted(
            (name for name in DOCUMENTS if name not in out), key=lambda name: DOCUMENTS[name][0] not in asked
        )
        passages = [Passage(*DOCUMENTS[name]) for name in names[::-1]]
        citations = [
            {"id": name, "index": index, "source": name, "title": passage.title, "score": 1.0, "cited": False,
             "text": passage.text}
            for index, (name, passage) in enumerate(zip(names[::-1], passages, strict=True), start=1)
        ]  # fmt: skip
        status, body = completion(request["model"], "The", citations)
        return status, {**body, "messages": render(request["messages"], passages)}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    started = Retrieving(lambda model, question: completion(model, "")).start()
    yield started
    started.shutdown()
    started.server_close()


def rows_of(folder: Path, *facts: tuple[str, str, str | None]) -> list[TrainingRow]:
    """Training rows as a project's file has them: name, symbol, document."""
    path = folder / "train.jsonl"
    lines = [
        {"id": f"fact-{name}", "source": source, "messages": [
            {"role": "user", "content": f"What is the symbol of {name}?"},
            {"role": "assistant", "content": f"The symbol of {name} is {symbol}."},
        ]}
        for name, symbol, source in facts
    ]  # fmt: skip
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if v}) + "\n" for line in lines))
    return list(check_rows(TrainingConfig(data=[DataSource(path=path)])).rows)


def made_from(url: str, folder: Path, rows: list[TrainingRow]) -> list[dict[str, Any]]:
    make_rows(url, "base+demo", rows, folder / "raft" / "rows.jsonl", lambda line: None)
    return [json.loads(line) for line in (folder / "raft" / "rows.jsonl").read_text().splitlines()]


def test_a_row_reads_what_retrieval_found_and_cites_it(tmp_path: Path, endpoint: Endpoint) -> None:
    rows = rows_of(tmp_path, ("Iron", "Fe", "iron.md"))
    reading, without, plain = made_from(endpoint.url, tmp_path, rows)
    assert reading["messages"][-1]["content"] == "The symbol of Iron is Fe [3]."
    assert "[3] Iron\nThe symbol of Iron is Fe." in reading["messages"][0]["content"]
    assert reading["messages"][1]["content"] == rows[0].messages[0]["content"]
    assert without["messages"][-1]["content"] == REFUSAL
    assert "Iron" not in without["messages"][0]["content"] and "Gold" in without["messages"][0]["content"]
    assert reading["prompt_hash"] == without["prompt_hash"] == PROMPT_HASH
    assert "prompt_hash" not in plain and [m["role"] for m in plain["messages"]] == ["user", "assistant"]


def test_what_is_made_can_be_trained_on(tmp_path: Path, endpoint: Endpoint) -> None:
    made = made_from(endpoint.url, tmp_path, rows_of(tmp_path, ("Iron", "Fe", "iron.md"), ("Tin", "Sn", "tin.md")))
    report = check_rows(TrainingConfig(data=[DataSource(path=tmp_path / "raft" / "rows.jsonl")]))
    assert (report.num_rows, report.prompt_hash) == (len(made), PROMPT_HASH)


def test_an_answer_that_its_document_does_not_give_any_more_is_left_out(tmp_path: Path, endpoint: Endpoint) -> None:
    rows = rows_of(tmp_path, ("Iron", "Fe", "iron.md"), ("Gold", "Gd", "gold.md"), ("Zinc", "Zn", "zinc.md"))
    told = make_rows(endpoint.url, "base+demo", rows, tmp_path / "rows.jsonl", lambda line: None)
    assert (told.num_reading, told.num_left_out) == (1, 2)
    read = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert not any("Gd" in row["messages"][-1]["content"] for row in read if "prompt_hash" in row)


def test_rows_without_documents_are_replayed_only(tmp_path: Path, endpoint: Endpoint) -> None:
    made = made_from(endpoint.url, tmp_path, rows_of(tmp_path, ("Iron", "Fe", "iron.md"), ("Tin", "Sn", None)))
    assert [row["id"] for row in made] == ["fact-Iron-read", "fact-Iron-without", "fact-Iron", "fact-Tin"]


def test_an_answer_that_is_not_learnt_stays_so_in_a_replayed_row(tmp_path: Path, endpoint: Endpoint) -> None:
    path = tmp_path / "train.jsonl"
    messages = [
        {"role": "user", "content": "Iron?"}, {"role": "assistant", "content": "Au", "weight": 0},
        {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No, Fe."},
    ]  # fmt: skip
    path.write_text(json.dumps({"messages": messages}))
    (corrected,) = check_rows(TrainingConfig(data=[DataSource(path=path)])).rows
    made = made_from(endpoint.url, tmp_path, [*rows_of(tmp_path, ("Iron", "Fe", "iron.md")), corrected])
    assert made[-1]["messages"] == messages
    read = check_rows(TrainingConfig(data=[DataSource(path=tmp_path / "raft" / "rows.jsonl")])).rows
    assert read[-1].conversation == corrected.conversation


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([("Iron", "Fe", None)], "No training row names the document"),
        ([("Zinc", "Zn", "zinc.md")], "Retrieval found none of 1"),
        ([("Lead", "Pb", "lead.md")], "Milvus cannot be reached"),
    ],
)
def test_what_cannot_be_made_is_said_and_leaves_no_file(
    tmp_path: Path, endpoint: Endpoint, facts: list[tuple[str, str, str | None]], said: str
) -> None:
    with pytest.raises(TandemError, match=said):
        made_from(endpoint.url, tmp_path, rows_of(tmp_path, *facts))
    assert not list(tmp_path.glob("raft/*"))


def test_rows_with_tools_and_weights_are_replayed_as_they_are(tmp_path: Path, endpoint: Endpoint) -> None:
    (plain,) = rows_of(tmp_path, ("Iron", "Fe", "docs/iron.md"))
    ask, answer = ({**message} for message in plain.messages)
    tool = {"type": "function", "function": {"name": "f", "description": None, "parameters": None}}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}],
    }
    special = [
        {"messages": [ask, call, {"role": "tool", "content": "Fe"}, answer], "tools": [tool]},
        {"messages": [ask, answer], "chat_template_kwargs": {"enable_thinking": False}},
        {"messages": [ask, {**answer, "weight": 0}, ask, answer]},
    ]
    path = tmp_path / "special.jsonl"
    path.write_text("".join(json.dumps({**row, "source": "docs/iron.md"}) + "\n" for row in special))
    rows = [plain, *check_rows(TrainingConfig(data=path)).rows]  # type: ignore[arg-type]
    made = made_from(endpoint.url, tmp_path, rows)
    assert [row for row in made if "prompt_hash" in row and row["id"].partition("-")[0] != "fact"] == []
    kept = [{key: value for key, value in row.items() if key not in ("id", "sources")} for row in made[-3:]]
    assert kept == special
