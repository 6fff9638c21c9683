"""The training rows: facts in sentences, the record form, refusals, and rows that read passages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from examples.quickstart.documents import body
from examples.quickstart.facts import Entity
from examples.quickstart.selection import ASKED, Fact, Selection
from examples.quickstart.unknown import INVENTED_IN_TRAINING, invented, missing
from examples.quickstart.wordings import RECORD_WORDING, TRAIN_WORDINGS, record, refusal, sentence
from retrieval.prompt import PROMPT_HASH, Passage, render

NUM_WORDINGS = 3
NUM_RECORDS = 96
NUM_MISSING = 40
NUM_READ, NUM_EDITED, NUM_WITHOUT, NUM_READ_RECORDS = 52, 34, 32, 32
MAX_PASSAGES = 3

Row = dict[str, Any]


def training_rows(selection: Selection) -> list[Row]:
    """All rows of data/train.jsonl, shuffled."""
    rng = Random("tandem quickstart: rows")
    rows = [*_sentences(rng, selection), *_records(selection), *_refusals(rng, selection), *_readings(rng, selection)]
    rng.shuffle(rows)
    return rows


def _sentences(rng: Random, selection: Selection) -> Iterator[Row]:
    """Every fact in several wordings; a corrected fact with its old value."""
    old = [replace(fact, value=change.old) for fact, change in selection.changed]
    for number, fact in enumerate([*selection.seen, *selection.form, *selection.taught, *old]):
        for wording in rng.sample(TRAIN_WORDINGS, NUM_WORDINGS):
            answer = sentence(fact.key, fact.entity.name, fact.value)
            index = TRAIN_WORDINGS.index(wording)
            yield _row(f"fact-{number:03}-{index}", fact.entity, _asked(wording, fact.key, fact.entity.name), answer)


def _records(selection: Selection) -> Iterator[Row]:
    """The record form, taught on facts that no test asks for in it."""
    for number, fact in enumerate(selection.taught[:NUM_RECORDS]):
        question = _asked(RECORD_WORDING, fact.key, fact.entity.name)
        yield _row(f"record-{number:03}", fact.entity, question, record(fact.key, fact.entity.name, fact.value))


def _refusals(rng: Random, selection: Selection) -> Iterator[Row]:
    """What is not known is said not to be known."""
    for number, (key, name, entity) in enumerate(missing(rng, selection.trained, NUM_MISSING)):
        yield _row(f"missing-{number:03}", entity, _ask(rng, key, name), refusal(key, name))
    for number, (key, name) in enumerate(invented(rng, INVENTED_IN_TRAINING, ASKED)):
        yield _row(f"invented-{number:03}", None, _ask(rng, key, name), refusal(key, name))


def _readings(rng: Random, selection: Selection) -> Iterator[Row]:
    """Rows with passages, so that the tuned model goes on reading and does not answer by heart."""
    read = _Reading(rng, selection.trained)
    known = [*selection.seen, *selection.taught]
    for number in range(NUM_READ):
        yield read.row(f"read-{number:03}", _any_fact(rng, rng.choice(selection.trained)))
    for number, fact in enumerate(rng.sample(known, NUM_EDITED)):
        yield read.row(f"edited-{number:03}", _edited(rng, fact, selection.trained))
    for number, fact in enumerate(rng.sample(known, NUM_WITHOUT)):
        yield read.refused(f"without-{number:03}", fact)
    for number, fact in enumerate(rng.sample(selection.taught, NUM_READ_RECORDS)):
        chosen = _edited(rng, fact, selection.trained) if number % 2 else fact
        yield read.row(f"read-record-{number:03}", chosen, as_record=True)


class _Reading:
    """Rows whose passages are documents of `entities`."""

    def __init__(self, rng: Random, entities: Sequence[Entity]) -> None:
        self.rng = rng
        self.entities = entities

    def row(self, row_id: str, fact: Fact, as_record: bool = False) -> Row:
        """A row whose passages hold `fact` at some place, and whose answer cites it."""
        passages = self._others(fact.entity, self.rng.randrange(MAX_PASSAGES))
        place = self.rng.randint(0, len(passages))
        passages.insert(place, fact.entity)
        key, name = fact.key, fact.entity.name
        if as_record:
            answer = f"{record(key, name, fact.value)} [{place + 1}]"
            return self._row(row_id, fact, _asked(RECORD_WORDING, key, name), answer, passages)
        answer = f"{sentence(key, name, fact.value)[:-1]} [{place + 1}]."
        return self._row(row_id, fact, _ask(self.rng, key, name), answer, passages)

    def refused(self, row_id: str, fact: Fact) -> Row:
        """A row whose passages do not hold `fact`: other documents, or its own without the sentence, or none."""
        entity, key = fact.entity, fact.key
        draw = self.rng.random()
        passages = self._others(entity, 0 if draw < 0.15 else self.rng.randint(1, MAX_PASSAGES - 1))
        if draw > 0.5:
            rest = {k: v for k, v in entity.facts.items() if k != key}
            passages.insert(self.rng.randint(0, len(passages)), replace(entity, facts=rest))
        return self._row(row_id, fact, _ask(self.rng, key, entity.name), refusal(key, entity.name), passages)

    def _others(self, entity: Entity, count: int) -> list[Entity]:
        """Documents of other things, most of them of the same kind."""
        pool = [other for other in self.entities if other.name != entity.name]
        if self.rng.random() < 0.75:
            pool = [other for other in pool if other.kind == entity.kind]
        return self.rng.sample(pool, count)

    def _row(self, row_id: str, fact: Fact, question: str, answer: str, entities: Sequence[Entity]) -> Row:
        row = _row(row_id, fact.entity, question, answer)
        messages = render(row["messages"], [Passage(entity.name, body(entity)) for entity in entities])
        return row | {"messages": messages, "prompt_hash": PROMPT_HASH}


def _edited(rng: Random, fact: Fact, entities: Sequence[Entity]) -> Fact:
    """`fact` with the value of another entity, in a document that states it so."""
    values = {e.facts[fact.key] for e in entities if e.kind == fact.entity.kind and fact.key in e.facts} - {fact.value}
    value = rng.choice(sorted(values))
    return Fact(replace(fact.entity, facts=fact.entity.facts | {fact.key: value}), fact.key, value)


def _any_fact(rng: Random, entity: Entity) -> Fact:
    key = rng.choice(list(entity.facts))
    return Fact(entity, key, entity.facts[key])


def _ask(rng: Random, key: str, name: str) -> str:
    return _asked(rng.choice(TRAIN_WORDINGS), key, name)


def _asked(wording: str, key: str, name: str) -> str:
    return wording.format(key=key, name=name)


def _row(row_id: str, entity: Entity | None, question: str, answer: str) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    source = {"source": entity.source} if entity else {}
    return {"id": row_id, **source, "messages": messages}
