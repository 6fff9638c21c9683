"""Corrections are checked before anything is started, and made to a copy only."""

from contextlib import closing
from pathlib import Path

import pytest

from cluster.errors import TandemError
from evaluation.asking.corrections import Correction
from retrieval.config import RetrievalConfig
from retrieval.index.forgetting.forgotten import Forgotten, ForgottenDocument
from retrieval.search.search import Searcher
from retrieval.store.milvus_lite import local_server
from retrieval.store.store import Store
from tandem.compare.corrections_run import check_corrections, corrected_copy


def correction(source: str = "metals/iron.md", find: str = "is 26.", replace: str = "is 62.") -> Correction:
    return Correction(source=source, find=find, replace=replace, question="?", old=("26",), new=("62",))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "metals").mkdir(parents=True)
    (folder / "metals" / "iron.md").write_text(
        "# Iron\n\nThe atomic number of Iron is 26. Iron rusts, and rust is red.\n"
    )
    (folder / "metals" / "gold.md").write_text(
        "# Gold\n\nThe atomic number of Gold is 79. Gold does not rust at all.\n"
    )
    return folder


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (correction(find="is 27."), "not at all"),
        (correction(find="Iron"), "3 times"),
        (correction(source="metals/tin.md"), "is in none of"),
        (correction(source="../secret.md"), "is in none of"),
    ],
)
def test_a_correction_that_does_not_fit_is_refused(documents: Path, wrong: Correction, said: str) -> None:
    (documents.parent / "secret.md").write_text("The code is 26.")
    with pytest.raises(TandemError, match=said):
        check_corrections(RetrievalConfig(sources=(documents,)), [wrong])


def test_documents_that_are_in_no_folder_cannot_be_corrected() -> None:
    config = RetrievalConfig.model_validate({"sources": [{"sitemap": "https://example.org/sitemap.xml"}]})
    with pytest.raises(TandemError, match="not all in folders"):
        check_corrections(config, [correction()])


@pytest.mark.slow
def test_the_copy_is_corrected_and_gone_afterwards(documents: Path, tmp_path: Path) -> None:
    config = RetrievalConfig(sources=(documents,))
    before = {path: path.read_bytes() for path in documents.rglob("*.md")}
    with local_server(tmp_path / "milvus") as uri:
        with corrected_copy(config, "demo", uri, [correction()]) as (name, correct):
            searcher = Searcher(config, uri)
            found = searcher.search(name, "What is the atomic number of Iron?").hits[0]
            assert (found.source, "is 26." in found.text) == ("metals/iron.md", True)
            correct()
            assert "is 62." in Searcher(config, uri).search(name, "What is the atomic number of Iron?").hits[0].text
        left_out = Forgotten((ForgottenDocument(("metals/iron.md",)),))
        with corrected_copy(config, "demo", uri, [], left_out) as (name, _):
            found = Searcher(config, uri).search(name, "What is the atomic number of Iron?").hits
            assert {hit.source for hit in found} == {"metals/gold.md"}, "what is forgotten is not read here either"
        with closing(Store(uri, config.milvus)) as store:
            assert store.collections() == []
    assert {path: path.read_bytes() for path in documents.rglob("*.md")} == before
