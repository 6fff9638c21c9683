"""What `tandem search eval` prints and advises, and the two ways to say `tandem search`."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from retrieval.config import Mode
from retrieval.quality.evaluate import NDCG, ModeDifference, ModeResult, SearchEvaluation, score_ranking
from retrieval.quality.judgments import JudgedQuestion
from tandem.commands.data.search_eval import advise, as_text, make_tables, to_json
from tests.tandem.test_command import project, refused, tandem
from tests.tandem.test_command import replace as rewrite

__all__ = ["project"]

QUESTIONS = [JudgedQuestion("1", "Which?", {"a.md": 1}), JudgedQuestion("2", "What?", {"b.md": 1})]


def result(mode: Mode, *rankings: list[str]) -> ModeResult:
    return ModeResult(mode, list(rankings), score_ranking(QUESTIONS, rankings), 12.5, 30.0, 0.02)


@pytest.fixture
def found() -> SearchEvaluation:
    """BM25 finds both first, dense one of them second and the other not at all."""
    dense, bm25 = result("dense", ["x", "a.md"], ["x"]), result("bm25", ["a.md"], ["b.md"])
    differences = [
        ModeDifference("bm25", "dense", metric, bm25.means[metric] - dense.means[metric], 0.1, 0.9)
        for metric in dense.scores
    ]
    return SearchEvaluation("help-desk", QUESTIONS, 3, ["c.md"], [dense, bm25], differences)


def test_tables_show_means_costs_and_marked_intervals(found: SearchEvaluation) -> None:
    console = Console(width=140, file=StringIO())
    with console.capture() as captured:
        for table in make_tables(found):
            console.print(table)
    rows = [line.split() for line in captured.get().splitlines()]
    # 1 / log2(3) = 0.631 for one of two questions; 0.02 s for two questions are 10 s for a thousand.
    assert ["dense", "0.000", "0.500", "0.500", "0.250", "0.315", "12.5", "30.0", "10.0"] in rows
    assert ["bm25", *["1.000"] * 5, "12.5", "30.0", "10.0"] in rows
    assert "+0.685 (+0.100 to +0.900) *" in captured.get()


def test_the_text_tells_what_was_left_out_or_missing(found: SearchEvaluation) -> None:
    text = as_text(found)
    assert "3 questions name no relevant source" in text
    assert "1 relevant sources are not in the collection and count as missed: c.md." in text
    assert as_text(replace(found, num_without=0, missing=[])) == "2 questions to the collection help-desk."


def test_another_mode_is_advised_only_where_its_interval_excludes_nought(found: SearchEvaluation) -> None:
    assert "set `retrieval.mode: bm25` in the project file: its nDCG@10 is 0.685 above that of dense" in advise(
        found, "dense"
    )
    assert "no mode is better than bm25" in advise(found, "bm25")
    by_chance = replace(found, differences=[replace(each, low=-0.1) for each in found.differences])
    assert "no mode is better than dense" in advise(by_chance, "dense")
    assert "no BM25" in advise(replace(found, differences=[]), "dense")


def test_json_holds_every_question(found: SearchEvaluation) -> None:
    value = json.loads(json.dumps(to_json(found)))
    assert value["modes"]["dense"]["metrics"]["recall@3"] == 0.5
    assert [question["modes"]["dense"]["best_rank"] for question in value["questions"]] == [2, None]
    assert value["questions"][1]["modes"]["bm25"] == {
        "best_rank": 1, "recall@1": 1, "recall@3": 1, "recall@10": 1, "MRR@10": 1, NDCG: 1,
    }  # fmt: skip
    assert value["differences"][0]["separated"] is True


@pytest.mark.parametrize("arguments", [["Which?"], ["--top-k", "2", "Which?"], ["for", "eval"]])
def test_a_question_needs_no_verb(project: Path, arguments: list[str]) -> None:
    rewrite(project, "sources: [docs]", "sources: [docs], top_k: 0")
    assert "tandem.yaml:4" in refused(tandem(project, "search", *arguments)), (
        "the project file is what it stumbles over"
    )


def test_a_bad_judged_file_names_its_line(project: Path) -> None:
    (project / "judged.jsonl").write_text('{"question": "Which?", "source": ["library.md"]}\n{"sources": []}\n')
    assert "judged.jsonl:2: question: Field required" in refused(tandem(project, "search", "eval", "judged.jsonl"))
    (project / "judged.jsonl").write_text('{"question": "Which?", "source": ["library.md"]}\n')
    assert "No question of judged.jsonl has a relevant source" in refused(
        tandem(project, "search", "eval", "judged.jsonl")
    )


@pytest.mark.slow
def test_a_beir_folder_is_indexed_and_measured(project: Path) -> None:
    (project / "Tiny.v1" / "qrels").mkdir(parents=True)
    documents = [
        {"_id": "1", "title": "Iron", "text": "The symbol is Fe."},
        {"_id": "2", "title": "Gold", "text": "Au."},
    ]
    (project / "Tiny.v1" / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    (project / "Tiny.v1" / "queries.jsonl").write_text('{"_id": "q", "text": "symbol of Iron"}\n')
    (project / "Tiny.v1" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    done = tandem(project, "search", "eval", "Tiny.v1", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["collection"] == "small-tiny-v1"
    assert {mode: each["metrics"][NDCG] for mode, each in value["modes"].items()} == {
        "dense": 1, "bm25": 1, "hybrid": 1,
    }  # fmt: skip
    assert "Next: no mode is better than hybrid" in done.stderr
    error = refused(tandem(project, "search", "eval", "questions.jsonl"))
    assert "has a relevant source" in error
