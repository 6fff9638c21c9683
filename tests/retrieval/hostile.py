"""Values made to break out of a filter, and what every store must make of them: the same value, and nothing else.

`check_store` is the suite that Milvus Lite (test_rights.py) and the real server (test_milvus_server.py) pass.
"""

import itertools
import math
import random
from typing import Any

from retrieval.filters.filters import And, FieldComparison, Filter, In, Not, Operator, Or, Scalar, encode
from retrieval.filters.rights import MAX_NAME_BYTES, NOBODY, Attributes, Rights, allowed
from retrieval.search.retrievers import Candidate, Retrievers
from retrieval.store.collection import ChunkRow, CollectionSettings
from retrieval.store.store import Store

_QUOTES = ["".join(each) for length in (1, 2, 3) for each in itertools.product("\\\"'", repeat=length)]
_CONTROLS = [f"a{chr(code)}b" for code in [*range(1, 32), 127, 0x80, 0x85, 0x9F, 0xAD]]
_OPERATORS = (
    r"""
acme" or "1" == "1¦acme" or tenant != "¦acme' or '1' == '1¦" or true or "¦") or (tenant != "")¦"]) or tenant in ["
acme") || (1 == 1¦acme\" or 1 == 1 or \"¦\¦acme\¦\\" or true¦" and not ("¦tenant != ""¦tenant in [""]¦or¦and¦not¦in
true¦false¦null¦NULL¦exists tenant¦like "%"¦%¦_¦%%¦a%¦a_c¦== "" or¦!=¦<=¦>=¦<>¦&&¦||¦|¦!¦~¦^¦**¦()¦[]¦{}¦[¦]¦(¦)¦,¦;¦:
-1¦0¦1e5¦0x1f¦1.0¦-0¦nan¦inf¦None¦array_contains(access_1, "a")¦json_contains(tenant, "a")¦text_match(content, "a")¦.¦..
""".strip()
    .replace("\n", "¦")
    .split("¦")
)
_COMMENTS = """
--|-- a|a -- b|#|# a|//|// a|/*|*/|/* a */|a /* b */ c|a; drop collection b|a -- " or true|"-- |"/*|*/"|<!-- a -->|'--
""".strip().split("|")
_TEMPLATES = (
    r"""
{a}|{{a}}|{0}|{}|${a}|$a|$meta|$meta["a"]|$[a]|%s|%d|%(a)s|<%= a %>|{% a %}|#{a}|`a`|$(a)|@a|:a|?|\{a\}|{tenant}
r"a"|u8"a"
""".strip()
    .replace("\n", "|")
    .split("|")
)
_ESCAPES = (
    r"""
\n|\t|\r|\0|\a|\v|\f|\x41|\x22|\101|\42|\u0041|\u0022|\\u0022|\\\u0022|\u005c|\u005cu0022|\u005c"|\U00000041|\U0001F600
\u4e2d|\N{DIGIT ONE}|&quot;|&#34;|%22|%5C|\"|\\"|\\\"|\'|\\'|"\|"\\|a\|a\\|\u{22}|\?|\%|\_
""".strip()
    .replace("\n", "|")
    .split("|")
)
_UNICODE = [
    "é", "e\u0301", "ß", "SS", "ſ", "İ", "i̇", "中文", "中\\文", '中"文', "中\\u4e2d", "한국어", "日本語", "עברית",
    "العربية",
    "\u202eacme", "\u202dacme\u202c", "\u2066acme\u2069", "acme\u200b", "acme\u200d", "\ufeffacme", "\u2028", "\u2029",
    "\u00a0", "acme\u00a0", "\u3000", "＂", "“acme”", "‘", "’", "＇", "＼", "\ufffd", "\uffff", "\ufdd0", "😀",
    "👩‍👩‍👧",
    "🇩🇪", "\U0001d11e", "\U0010ffff", "\U000e0041", "a\u0300\u0301\u0302\u0303", "ﷺ", "Ａｃｍｅ", "аcme", "٣", "½", "①",
    "\u0bb7", "␀", "\ue000", "\U000f0000", "々", "〆", "⺀", "⼀", "豈", "﨎", "〇", "〡",
]  # fmt: skip
_SPACES = [
    "acme",
    "Acme",
    "ACME",
    " acme",
    "acme ",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "a\nb",
    "a\r\nb",
    "\\\n",
    '"\n"',
]
_LONG = [
    each * (MAX_NAME_BYTES // len(each.encode())) for each in ("a", '"', "\\", "'", "\n", "é", "中", "😀", '" or ')
]

HOSTILE = list(
    dict.fromkeys([*_QUOTES, *_CONTROLS, *_OPERATORS, *_COMMENTS, *_TEMPLATES, *_ESCAPES, *_UNICODE, *_SPACES, *_LONG])
)
"""Each is kept and found again, as tenant, label and metadata."""

REFUSED: list[Any] = [
    "a\0b", "\0", "\ud800", "a\udfff", "\U00020bb7", "中\U0002f800", "\U0003ffff", "\U00016fe2", "x" * 100_000,
    '"' * 100_000,
    ["a"], [["a"]], [[[["a"]]]], ("a",), {"a": "b"}, {"$ne": ""}, None, b"a", float("nan"), float("inf"), -float("inf"),
    2**53 + 1, -(2**63), 10**5000, object(),
]  # fmt: skip
"""None of these is a value of metadata or of a filter, and none a tenant or a label."""

NUMBERS: list[Scalar] = [
    0,
    -1,
    7,
    2**53,
    -(2**53),
    0.1,
    -2.5,
    1e-300,
    1.7976931348623157e308,
    5e-324,
    1e22,
    1e16,
    0.30000000000000004,
]
VECTOR = [1.0, 0.0]
TIMEOUT_S = 10.0


def check_store(uri: str, name: str) -> None:
    """Every hostile value is one tenant's name, label and metadata; all rows say the same."""
    assert len(HOSTILE) >= 200
    store = Store(uri)
    rows = [
        row(number, Attributes(value, (value,), {"text": value}), near(10 * number))
        for number, value in enumerate(HOSTILE)
    ]
    rows.append(row(len(HOSTILE), Attributes()))
    physical = built(store, name, rows)
    _check_values(store, physical)
    _check_tenants(store, name)
    _check_numbers(store, name)
    _check_trees(store, name)
    store.close()


def row(number: int, attributes: Attributes, vector: list[float] = VECTOR) -> ChunkRow:
    return ChunkRow(
        f"{number:04}", f"{number}.md", "0" * 64, 1, 0, "Iron\nThe symbol of Iron is Fe.", vector, attributes
    )


def near(number: float) -> list[float]:
    """A vector near `VECTOR`. The graph of Milvus Lite falls apart where very many vectors are the same."""
    return [math.cos(number / 1000), math.sin(number / 1000)]


def built(store: Store, name: str, rows: list[ChunkRow]) -> str:
    """A published collection of exactly these rows."""
    physical = store.ensure(name, CollectionSettings("hand-made", len(VECTOR), 200, 1, store.has_bm25))
    store.load(physical)
    store.delete(physical, [stored.id for stored in store.chunks(physical)])
    store.upsert(physical, rows)
    assert store.finish(physical) == len(rows)
    store.publish(name, physical)
    return physical


def ids(store: Store, physical: str, where: Filter) -> list[str]:
    found = store.client.query(
        physical, filter=encode(where), output_fields=["id"], consistency_level="Bounded", timeout=TIMEOUT_S
    )
    return sorted(str(each["id"]) for each in found)


def searches(store: Store, name: str, where: Filter) -> dict[str, list[Candidate]]:
    """What each leg that the store has finds."""
    found = {"dense": Retrievers(store).dense(name, VECTOR, where, 10, TIMEOUT_S)}
    if store.has_bm25:
        found["bm25"] = Retrievers(store).bm25(name, "symbol of Iron", where, 10, TIMEOUT_S)
    return found


def _check_values(store: Store, physical: str) -> None:
    kept = store.client.query(
        physical, filter='id != ""', output_fields=["id", "tenant", "access_1", "m_text_text"], limit=1000
    )
    by_id = {each["id"]: each for each in kept}
    for number, value in enumerate(HOSTILE):
        stored = by_id[f"{number:04}"]
        assert [stored[field] for field in ("tenant", "access_1", "m_text_text")] == [value] * 3, ascii(value)
        leaves = tuple(FieldComparison(field, "==", value) for field in ("tenant", "access_1", "metadata.text"))
        assert ids(store, physical, And(leaves)) == [f"{number:04}"], ascii(value)
        assert ids(store, physical, Or(leaves)) == [f"{number:04}"], ascii(value)
    everyone = [f"{number:04}" for number in range(len(HOSTILE))]
    for field in ("tenant", "access_1", "metadata.text"):
        assert ids(store, physical, In(field, tuple(HOSTILE))) == everyone
        assert ids(store, physical, In(field, tuple(HOSTILE[::2]))) == everyone[::2]


def _check_tenants(store: Store, name: str) -> None:
    shared = f"{len(HOSTILE)}.md"
    for number, value in enumerate(HOSTILE):
        own = {f"{number}.md", shared}
        for mode, found in searches(store, name, allowed(Rights(value, frozenset([value])))).items():
            assert {hit.source for hit in found} == own, (mode, ascii(value), found)
    for rights in (NOBODY, Rights("nobody"), Rights(labels=frozenset(HOSTILE[:20])), Rights(HOSTILE[0])):
        for mode, found in searches(store, name, allowed(rights)).items():
            assert [hit.source for hit in found] == [shared], (mode, rights)


def _check_numbers(store: Store, name: str) -> None:
    values = [*NUMBERS, True, False]
    rows = [row(number, Attributes(metadata={"value": value})) for number, value in enumerate(values)]
    physical = built(store, name, rows)
    for number, value in enumerate(values):
        assert ids(store, physical, FieldComparison("metadata.value", "==", value)) == [f"{number:04}"], value
        assert ids(store, physical, In("metadata.value", (value, value))) == [f"{number:04}"], value
        if not isinstance(value, bool):
            below = sorted(f"{other:04}" for other, each in enumerate(NUMBERS) if each < value)
            assert ids(store, physical, FieldComparison("metadata.value", "<", value)) == below, value


def _check_trees(store: Store, name: str) -> None:
    """Random trees find what they say, `not` and missing metadata included."""
    rng = random.Random(7)
    metadata: list[dict[str, Scalar]] = [
        {key: rng.choice([1, 2, 2.5, "1", "b", '"', True, False]) for key in "xyz" if rng.random() < 0.7}
        for _ in range(40)
    ]
    rows = [row(number, Attributes(metadata=each)) for number, each in enumerate(metadata)]
    physical = built(store, name, rows)
    for _ in range(60):
        tree = random_tree(rng, 3)
        expected = [each.id for each in rows if holds(tree, each)]
        assert ids(store, physical, tree) == expected, encode(tree)


def random_tree(rng: random.Random, depth: int) -> Filter:
    kind = rng.choice(["leaf", "in", "and", "or", "not"]) if depth else "leaf"
    field = rng.choice(["metadata.x", "metadata.y", "metadata.z", "metadata.none", "source"])
    if kind == "leaf":
        if field == "source":
            return FieldComparison(field, rng.choice(["==", "!=", "<"]), f"{rng.randrange(40)}.md")
        value: Scalar = rng.choice([1, 2, 2.5, "1", "b", '"', True])
        operators: list[Operator] = ["==", "!="] if value is True else ["==", "!=", "<", "<=", ">", ">="]
        return FieldComparison(field, rng.choice(operators), value)
    if kind == "in":
        return In("metadata.x", rng.choice([(1, 2.5), ("1", '"'), (True, False), (3,)]))
    if kind == "not":
        return Not(random_tree(rng, depth - 1))
    inner = tuple(random_tree(rng, depth - 1) for _ in range(rng.randint(1, 3)))
    return And(inner) if kind == "and" else Or(inner)


def holds(tree: Filter, row: ChunkRow) -> bool:
    """What a tree means, in Python."""
    if isinstance(tree, Not):
        return not holds(tree.filter, row)
    if isinstance(tree, And | Or):
        return (all if isinstance(tree, And) else any)(holds(each, row) for each in tree.filters)
    if isinstance(tree, In):
        return any(holds(FieldComparison(tree.field, "==", value), row) for value in tree.values)
    if tree.operator == "!=":
        return not holds(FieldComparison(tree.field, "==", tree.value), row)
    kept = row.source if tree.field == "source" else row.attributes.metadata.get(tree.field.removeprefix("metadata."))
    if kept is None or _kind(kept) != _kind(tree.value):
        return False
    left, right = (each.encode() if isinstance(each, str) else each for each in (kept, tree.value))
    compared = {"==": left == right}
    if tree.operator != "==":
        compared |= {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}  # type: ignore[operator]
    return compared[tree.operator]


def _kind(value: Scalar) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
