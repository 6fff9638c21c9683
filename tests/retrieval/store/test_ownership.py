"""A collection belongs to one project: another one does not replace its documents unless it is asked to."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.storage.objects import Folder, SharedRecord
from retrieval.store.collection import CollectionSettings
from retrieval.store.identity import OWNER_PROPERTY, ProjectIdentity, keep_identity
from retrieval.store.store import Store

NUMBERS = count()
SETTINGS = CollectionSettings("a model", dimensions=4, chunk_tokens=100, chunking_version=1, bm25=False)
OURS = ProjectIdentity("1", "handbook", "first indexed on here from /srv/handbook")
THEIRS = ProjectIdentity("2", "handbook", "first indexed on there from /srv/other")


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    kept = SharedRecord(Folder(tmp_path), "docs/identity.json")
    made = keep_identity(kept, "docs", Path("/srv/docs"))
    assert keep_identity(kept, "docs", Path("/srv/moved")) == made
    assert made.project == "docs" and made.where.endswith("from /srv/docs")
    other = keep_identity(SharedRecord(Folder(tmp_path / "other"), "docs/identity.json"), "docs", Path("/srv/docs"))
    assert other.id != made.id
    (tmp_path / "docs" / "identity.json").write_text("{")
    with pytest.raises(TandemError, match=r"identity\.json cannot be read.*--take-over"):
        keep_identity(kept, "docs", Path("/srv/docs"))


@pytest.fixture
def name() -> str:
    return f"owned-{next(NUMBERS)}"


Claim = Callable[..., list[str]]


@pytest.fixture
def claim(store: Store, name: str) -> Claim:
    """Claims the collection and returns what is said."""

    def claimed(owner: ProjectIdentity | None, take_over: bool = False) -> list[str]:
        return store.claim(name, owner, take_over)

    return claimed


@pytest.mark.slow
def test_another_project_is_refused_and_may_take_over(store: Store, name: str, claim: Claim) -> None:
    assert claim(OURS) == []
    physical = store.ensure(name, SETTINGS)
    for owner in (THEIRS, None):  # also before it is published
        with pytest.raises(TandemError, match=rf"{name} at .* belongs to another project: `handbook`, .*/srv/handbook"):
            claim(owner)
    store.publish(name, physical)
    with pytest.raises(TandemError, match=r"Set `retrieval.collection` to another name.*--take-over"):
        claim(THEIRS)
    assert claim(OURS) == []
    assert claim(THEIRS, True) == [
        f"The collection {name} belongs to this project from now on; it belonged to `handbook`, "
        "first indexed on here from /srv/handbook."
    ]
    assert claim(THEIRS) == []
    with pytest.raises(TandemError, match="another project"):
        claim(OURS)
    assert store.settings(physical) == SETTINGS and store.current(name) == physical


@pytest.mark.slow
def test_what_an_earlier_version_built_belongs_to_its_first_writer(store: Store, name: str, claim: Claim) -> None:
    claim(None)
    physical = store.ensure(name, SETTINGS)
    store.publish(name, physical)
    assert claim(OURS) == [f"The collection {name} belongs to this project from now on; it belonged to nobody."]
    assert claim(OURS) == []
    with pytest.raises(TandemError, match="another project"):
        claim(THEIRS)
    assert store.ensure(name, SETTINGS) == physical


@pytest.mark.slow
def test_an_owner_that_is_not_understood_is_another_project(store: Store, name: str, claim: Claim) -> None:
    claim(OURS)
    store.set_properties(store.ensure(name, SETTINGS), {OWNER_PROPERTY: "[]"})
    with pytest.raises(TandemError, match="another version of Tandem"):
        claim(OURS)
    assert len(claim(OURS, True)) == 1
