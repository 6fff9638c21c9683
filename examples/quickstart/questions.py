"""The test questions, in five slices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

import pycountry

from examples.quickstart.facts import Entity
from examples.quickstart.rows import Row
from examples.quickstart.selection import ASKED, Fact, Selection, asked
from examples.quickstart.unknown import INVENTED_IN_TEST, invented, missing
from examples.quickstart.wordings import RECORD_WORDING, TEST_WORDINGS, record, refusal, sentence

NUM_UNSEEN = {"countries": 16, "elements": 10, "languages": 10, "currencies": 5, "http": 7}
NUM_MISSING = 30

Question = dict[str, Any]


def ask_all(selection: Selection, rows: Sequence[Row]) -> list[Question]:
    """All questions, slice by slice. `rows` are the training rows: `unseen` names stand in none of them."""
    rng = Random("tandem quickstart: questions")
    unseen = _unseen(rng, selection.unseen, rows)
    return [
        *(_answerable(rng, f"seen-{i:03}", fact) for i, fact in enumerate(selection.seen)),
        *(_answerable(rng, f"unseen-{i:03}", fact) for i, fact in enumerate(unseen)),
        *(_answerable(rng, f"changed-{i:03}", fact) for i, (fact, _) in enumerate(selection.changed)),
        *_unanswerable(rng, selection, rows),
        *(_form(f"form-{i:03}", fact) for i, fact in enumerate(selection.form)),
    ]


def mentions(name: str, texts: Iterable[str]) -> bool:
    """Whether `name` stands in one of `texts` as whole words: "Niger" is not in "Nigeria"."""
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    return any(pattern.search(text) for text in texts)


def texts_of(rows: Iterable[Row]) -> list[str]:
    """All that the training rows say, passages too."""
    return [message["content"] for row in rows for message in row["messages"]]


def _unseen(rng: Random, entities: Sequence[Entity], rows: Sequence[Row]) -> list[Fact]:
    """One fact each of entities that no training row mentions, evenly over the keys of a kind."""
    texts = texts_of(rows)
    facts = []
    for kind, count in NUM_UNSEEN.items():
        pool = [entity for entity in entities if entity.kind == kind and not mentions(entity.name, texts)]
        for number, entity in enumerate(rng.sample(pool, count)):
            options = asked(entity)
            wanted = ASKED[kind][number % len(ASKED[kind])]
            facts.append(next((fact for fact in options if fact.key == wanted), rng.choice(options)))
    return facts


def _answerable(rng: Random, question_id: str, fact: Fact) -> Question:
    name = fact.entity.name
    return {
        "id": question_id,
        "slice": question_id.split("-")[0],
        "question": rng.choice(TEST_WORDINGS).format(key=fact.key, name=name),
        "answers": _accepted(fact),
        "reference": sentence(fact.key, name, fact.value),
        "sources": [fact.entity.source],
        "answerable": True,
        "form": None,
    }


def _unanswerable(rng: Random, selection: Selection, rows: Sequence[Row]) -> Iterator[Question]:
    """Missing facts that training does not refuse either, and invented names that it does not name."""
    refused = {row["messages"][-1]["content"] for row in rows}
    drawn = missing(rng, [*selection.trained, *selection.unseen], 2 * NUM_MISSING)
    fresh = [(key, name) for key, name, _ in drawn if refusal(key, name) not in refused]
    pairs = [*rng.sample(fresh, NUM_MISSING), *invented(rng, INVENTED_IN_TEST, ASKED)]
    for number, (key, name) in enumerate(pairs):
        yield {
            "id": f"unanswerable-{number:03}",
            "slice": "unanswerable",
            "question": rng.choice(TEST_WORDINGS).format(key=key, name=name),
            "answers": [],
            "reference": refusal(key, name),
            "sources": [],
            "answerable": False,
            "form": None,
        }


def _form(question_id: str, fact: Fact) -> Question:
    key, name = fact.key, fact.entity.name
    return {
        "id": question_id,
        "slice": "form",
        "question": RECORD_WORDING.format(key=key, name=name),
        "answers": _accepted(fact),
        "reference": record(key, name, fact.value),
        "sources": [fact.entity.source],
        "answerable": True,
        "form": rf"Record: The {_literal(key)} of {_literal(name)} = (?P<value>.+)",
    }


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\ ", " ").replace(r"\-", "-")


def _accepted(fact: Fact) -> list[str]:
    """The value, and other spellings that are as right: a number without its unit, ISO 4217's name of a currency."""
    if fact.key == "density":
        return [fact.value, fact.value.split(" ")[0]]
    if fact.key == "currency":
        iso_name = pycountry.currencies.lookup(fact.entity.facts["currency code"]).name
        return [fact.value, *([iso_name] if iso_name != fact.value else [])]
    return [fact.value]
