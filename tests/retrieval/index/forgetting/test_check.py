"""What a run learns of a forgotten document once all others are known, and when a list counts as another one."""

from contextlib import closing

import pytest

from retrieval.filters.rights import Attributes
from retrieval.index.forgetting.check import MANY, ForgottenCheck
from retrieval.index.forgetting.forgotten import Forgotten, ForgottenDocument, Sighting
from retrieval.index.forgetting.text_identity import identity_of
from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.index.report import IndexReport
from retrieval.sources.document import Document, Origin
from retrieval.store.rows import StoredChunk

PLACE = Origin("/srv/docs", "notice.md")
TEXT = "This notice is " + "the same in many folders, " * 5
NAME = ForgottenDocument(("notice.md",))
PLACED = ForgottenDocument(("notice.md",), (PLACE,), (identity_of("What it said before."),))


class Kept:
    """A list, and what it was taught."""

    def __init__(self, *documents: ForgottenDocument) -> None:
        self.documents, self.learned = documents, list[Sighting]()

    def read(self) -> Forgotten:
        return Forgotten(self.documents)

    def learn(self, sightings: object) -> None:
        self.learned += sightings  # type: ignore[operator]


@pytest.mark.parametrize(
    ("forgotten", "num_others", "learns"),
    [(NAME, 0, True), (NAME, MANY - 1, True), (NAME, MANY, False), (PLACED, 0, True), (PLACED, 1, False)],
)
def test_a_text_is_learned_only_where_others_with_it_are_copies(
    forgotten: ForgottenDocument, num_others: int, learns: bool
) -> None:
    kept = Kept(forgotten)
    with closing(IndexedDocuments()) as known:
        check = ForgottenCheck(kept, known)
        check.begin(IndexReport("c"))
        notice = Document("notice.md", Attributes(), lambda: "v", lambda: TEXT, origin=PLACE)
        assert check.leaves_out(notice, reads=True)
        for number in range(num_others):  # these are read after it
            known.replace(f"{number}.md", [StoredChunk(f"{number}", f"{number}.md", "d", 1, identity_of(TEXT))])
        check.end()
    assert [each.text for each in kept.learned] == (
        [identity_of(TEXT)] if learns else [""] if forgotten is NAME else []
    )


def test_what_is_taken_back_during_a_run_is_read_by_the_next() -> None:
    kept = Kept(PLACED)
    with closing(IndexedDocuments()) as known:
        check = ForgottenCheck(kept, known)
        changed = []
        for documents in ((PLACED,), (), (), ()):
            check.begin(IndexReport("c"))
            changed.append(check.has_changed)
            kept.documents = documents
            assert not [*check.found_in_collection()]
    assert changed == [True, False, True, False]
