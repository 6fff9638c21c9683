"""Questions that the documents do not answer: missing facts of real things, and things that do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from examples.quickstart.facts import Entity

# No document of the kind states these.
MISSING_KEYS = {
    "countries": ("capital", "population", "area", "calling code", "main language", "national day", "highest point"),
    "elements": ("melting point", "boiling point", "discovery year", "discoverer", "crystal structure"),
    "languages": ("number of speakers", "language family", "writing direction", "country"),
    "currencies": ("founding year", "symbol", "unit price"),
    "http": ("default action", "first version"),
}
# A language without a bibliographic code of its own uses its alpha-3 code, so asking for it is no trap.
NO_GAP = {"bibliographic code"}
INVENTED_IN_TRAINING = {
    "countries": ("Freedonia", "Ruritania", "Syldavia", "Borduria", "Lilliput", "Genovia", "Grand Fenwick", "Zamunda"),
    "elements": ("Vibranium", "Kryptonite", "Mithril", "Adamantium", "Dilithium", "Feminum"),
    "languages": ("Newspeak", "Nadsat", "Simlish", "Old Martian"),
    "currencies": ("Galactic Credit", "Gold Dragon", "Grotzit"),
    "http": ("HTTP status 299", "HTTP status 444", "HTTP status 460", "HTTP status 555"),
}
INVENTED_IN_TEST = {
    "countries": ("Atlantis", "Zubrowka", "Latveria", "Elbonia", "Utopia", "El Dorado"),
    "elements": ("Unobtanium", "Octiron", "Orichalcum", "Eitr"),
    "languages": ("Parseltongue", "Ewokese"),
    "currencies": ("Silver Stag", "Woolong"),
    "http": ("HTTP status 599", "HTTP status 433", "HTTP status 512"),
}


def missing(rng: Random, entities: Sequence[Entity], count: int) -> list[tuple[str, str, Entity]]:
    """`count` times a key, a name that no document holds together with it, and the entity of that name.

    Half of them are gaps: documents of other things of the kind do have the key.
    """
    keys: dict[str, set[str]] = {}
    for entity in entities:
        keys.setdefault(entity.kind, set()).update(set(entity.facts) - NO_GAP)
    gaps: dict[str, list[Entity]] = {}
    for entity in rng.sample(list(entities), len(entities)):
        for key in sorted(keys[entity.kind] - set(entity.facts)):
            gaps.setdefault(key, []).append(entity)
    found = [(key, group[i]) for i in range(len(entities)) for key, group in sorted(gaps.items()) if i < len(group)]
    chosen = found[: count // 2]
    for entity in rng.sample(list(entities), count - len(chosen)):
        chosen.append((rng.choice(MISSING_KEYS[entity.kind]), entity))
    return [(key, entity.name, entity) for key, entity in chosen]


def invented(rng: Random, names: dict[str, tuple[str, ...]], keys: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """For each name one key that real things of its kind have, as pairs of key and name."""
    return [(rng.choice(keys[kind]), name) for kind, kind_names in names.items() for name in kind_names]
