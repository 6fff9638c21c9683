"""What `tandem search "question"` prints of its hits."""

import json
from dataclasses import replace

import pytest

from cluster.errors import TandemError
from retrieval.search.hits import Hit, Scores
from retrieval.search.search import SearchResult
from tandem.commands.data.search import as_text, to_json
from tandem.console import Console, print_error

HIT = Hit(
    "Iron", "It is Fe.", "id", "iron.md", 2, 0.75, Scores(dense=0.5, bm25=7.25, fused=0.75), 3, ("copy.md", "old.md")
)
FOUND = SearchResult([HIT], 4.0, 6.0, 5.5, 3.25, None, {"live": "It does not answer."})


def test_a_passage_is_shown_with_its_place_and_the_scores_of_all_stages() -> None:
    assert as_text(FOUND) == (
        "[1] Iron\n    iron.md#2-3 (dense 0.500, bm25 7.250, fused 0.750)\n    also in copy.md, old.md\nIt is Fe.\n\n"
        "(took 10.0 ms, embed 4.0 ms, search 6.0 ms, index 5.5 ms, live 3.2 ms)\nWithout live: It does not answer."
    )
    assert as_text(SearchResult([])).startswith("Nothing was found.")


def test_a_terminal_does_not_obey_what_stands_in_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences that set a window's title or clear the screen, also those of one character, and half a pair."""
    hit = replace(HIT, text="a\x1b]0;owned\x07b\x1b[2J\x9b31m\tc\rd\n\x00é \ud83d", source="\x1bcevil.md")
    console = Console()
    console.result(as_text(SearchResult([hit])), None)
    console.stage("index", hit.source)
    console.hint(hit.source)
    print_error(TandemError(hit.source, "b\x1b[1m", "c."))
    shown = capsys.readouterr()
    assert all(each.isprintable() or each in "\n\t" for each in shown.out + shown.err)
    assert "a\\x1b]0;owned\\x07b\\x1b[2J\\x9b31m\tc\\rd\n\\x00é \\ud83d" in shown.out
    assert shown.err.count("\\x1bcevil.md") == 3


def test_json_holds_everything() -> None:
    value = json.loads(json.dumps(to_json(FOUND)))
    (hit,) = value["hits"]
    assert (hit["citation"], hit["position"], hit["last"]) == ("iron.md#2-3", 2, 3)
    assert hit["scores"] == {"dense": 0.5, "bm25": 7.25, "live": None, "fused": 0.75, "rerank": None}
    assert value["missing"] == {"live": "It does not answer."} and value["timings"]["took_ms"] == 10.0
