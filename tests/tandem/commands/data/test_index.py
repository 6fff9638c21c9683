"""What `tandem index` says of a run."""

from retrieval.index.report import Failure, IndexReport
from retrieval.sources.document import PartialText, say_left_out
from tandem.commands.data.index import as_text


def test_what_was_left_out_of_a_document_is_said() -> None:
    report = IndexReport("help", left_out=[Failure("a.pdf", "has no text layer on page 2")])
    assert as_text(report) == "help is up to date.\n  a.pdf: indexed, but has no text layer on page 2"


def test_a_text_knows_what_was_left_out_of_it() -> None:
    text = say_left_out("Iron rusts.", ["has no text layer on page 2"])
    assert text == "Iron rusts." and isinstance(text, PartialText) and text.left_out == ("has no text layer on page 2",)
    assert type(say_left_out("Iron rusts.", [])) is str
