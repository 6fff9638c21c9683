"""Names of collections in Milvus."""

import itertools
import re
from dataclasses import replace

from cluster.fingerprints.digests import digest_json
from retrieval.store.collection import CollectionSettings, alias_of, name_of, physical_name

DIGEST = "0123456789abcdef"
EARLIER = "822891e332ce5b685bbeb230b6d99dfb3b0dc01456126fc8f8cfab2695d765fe"
"""Of the settings below, as the version gave it that knew no precision (commit 93aec8a)."""


def test_two_names_never_meet() -> None:
    names = ["".join(letters) for length in (1, 2, 3, 4) for letters in itertools.product("advx_-0", repeat=length)]
    names = [name for name in names if "--" not in name]
    in_milvus = {alias_of(name) for name in names} | {physical_name(name, DIGEST) for name in names}
    assert len(in_milvus) == 2 * len(names)
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,254}", name) for name in in_milvus)


def test_a_name_is_read_back_and_foreign_ones_are_not_ours() -> None:
    assert alias_of("help-desk_2") == "tandem_help_ddesk__2"
    assert name_of(physical_name("help-desk_2", DIGEST)) == "help-desk_2"
    assert name_of("tandem_help_ddesk__2") is None
    assert name_of("customers") is None
    assert len(physical_name("-_" * 31 + "-", DIGEST)) <= 255


def test_a_collection_of_an_earlier_version_keeps_its_name() -> None:
    settings = CollectionSettings("model", 384, 200, 3, True)
    assert digest_json(settings.values) == EARLIER
    assert "precision" not in settings.values
    other = replace(settings, precision="bf16")
    assert digest_json(other.values) != EARLIER
    assert not settings.embeds_like(other)
    assert CollectionSettings(**other.values) == other
