"""Which facts are trained on, and which are asked in which slice. Drawn once with a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from examples.quickstart.changes import Change
from examples.quickstart.facts import Entity

# Keys whose values tell entities apart. The others ("script", "class") could be guessed, so no test asks for them.
ASKED = {
    "countries": ("alpha-2 code", "alpha-3 code", "numeric code", "official name", "currency", "currency code"),
    "elements": ("chemical symbol", "atomic number", "atomic weight", "density"),
    "languages": ("alpha-2 code", "alpha-3 code", "bibliographic code", "native name"),
    "currencies": ("alphabetic code", "numeric code", "country"),
    "http": ("reason phrase", "section"),
}
# So common that the answer proves nothing.
COMMON = frozenset({"Euro", "EUR", "US Dollar", "USD"})
NUM_SLICE = {"countries": 16, "elements": 10, "languages": 10, "currencies": 5, "http": 7}
NUM_TAUGHT = {"countries": 34, "elements": 22, "languages": 22, "currencies": 10, "http": 16}
UNSEEN_SHARE = 0.3


@dataclass(frozen=True)
class Fact:
    """One sentence of a document."""

    entity: Entity
    key: str
    value: str


@dataclass(frozen=True)
class Selection:
    """`seen`, `form` and `taught` are trained on; `taught` also in the record form. `changed` pairs a fact as the
    documents have it with its correction. Nothing of the entities in `unseen` may reach the training rows."""

    seen: list[Fact]
    form: list[Fact]
    taught: list[Fact]
    changed: list[tuple[Fact, Change]]
    trained: list[Entity]
    unseen: list[Entity]


def select(entities: list[Entity], corrections: list[Change]) -> Selection:
    """`entities` as the documents state them, `corrections` already applied."""
    rng = Random("tandem quickstart: selection")
    by_name = {entity.name: entity for entity in entities}
    changed = [(Fact(by_name[c.name], c.key, c.new), c) for c in corrections]
    corrected = {change.name for change in corrections}
    trained: list[Entity] = []
    unseen: list[Entity] = []
    seen: list[Fact] = []
    form: list[Fact] = []
    taught: list[Fact] = []
    for kind, count in NUM_SLICE.items():
        pool = [entity for entity in entities if entity.kind == kind and entity.name not in corrected]
        rng.shuffle(pool)
        num_unseen = round(len(pool) * UNSEEN_SHARE)
        unseen += pool[:num_unseen]
        trained += pool[num_unseen:]
        drawn = _draw(rng, [fact for entity in pool[num_unseen:] for fact in asked(entity)])
        seen += drawn[:count]
        form += drawn[count : 2 * count]
        taught += drawn[2 * count : 2 * count + NUM_TAUGHT[kind]]
    return Selection(seen, form, taught, changed, trained, unseen)


def asked(entity: Entity) -> list[Fact]:
    """The facts of `entity` that a test may ask for."""
    facts = [Fact(entity, key, value) for key, value in entity.facts.items() if key in ASKED[entity.kind]]
    return [fact for fact in facts if fact.value not in COMMON]


def _draw(rng: Random, facts: list[Fact]) -> list[Fact]:
    """`facts` in random order, evenly over the keys."""
    by_key: dict[str, list[Fact]] = {}
    for fact in rng.sample(facts, len(facts)):
        by_key.setdefault(fact.key, []).append(fact)
    rounds = max(map(len, by_key.values()))
    return [facts[i] for i in range(rounds) for facts in by_key.values() if i < len(facts)]
