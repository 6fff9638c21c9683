"""Names of collections in Milvus."""

import itertools
import re

from retrieval.store.collection import alias_of, name_of, physical_name

DIGEST = "0123456789abcdef"


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
