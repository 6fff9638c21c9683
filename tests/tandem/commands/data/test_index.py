"""What `tandem index` says of a run."""

from retrieval.index.report import EmptySource, Failure, IndexReport
from retrieval.sources.document import PartialText, say_left_out
from tandem.commands.data.index import as_text


def test_what_was_left_out_of_a_document_is_said() -> None:
    report = IndexReport("help", left_out=[Failure("a.pdf", "has no text layer on page 2")])
    assert as_text(report) == "help is up to date.\n  a.pdf: indexed, but has no text layer on page 2"


def test_a_text_knows_what_was_left_out_of_it() -> None:
    text = say_left_out("Iron rusts.", ["has no text layer on page 2"])
    assert text == "Iron rusts." and isinstance(text, PartialText) and text.left_out == ("has no text layer on page 2",)
    assert type(say_left_out("Iron rusts.", [])) is str


def test_other_files_are_counted_in_one_line_and_an_empty_source_says_what_to_do() -> None:
    report = IndexReport("help", other_files={".xml": 22, ".ipynb": 25}, empty=[EmptySource("docs", 5)])
    first, empty, files = as_text(report).split("\n  ")
    assert first == "help is up to date."
    assert files == "47 files of other kinds were left out (.ipynb 25, .xml 22)."
    assert empty.startswith("The source docs holds no document now.") and "5 documents" in empty
    assert "tandem index --allow-empty" in empty
