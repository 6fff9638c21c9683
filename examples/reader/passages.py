"""Chats over generated passages: what the reader is trained and measured on.

    python -m examples.reader.passages        # print one chat

No real name appears: things, keys and values are invented, so whatever the model answers it has read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from examples.reader import words
from examples.reader.keys import FILLERS, KEYS, KINDS, QUESTIONS
from retrieval.prompt import Passage, render_system

UNKNOWN = "something I do not know"


@dataclass(frozen=True)
class Spec:
    """How large the chats are: counts are inclusive (low, high) ranges."""

    num_passages: tuple[int, int] = (3, 3)
    num_facts: tuple[int, int] = (3, 6)
    num_turns: int = 1
    unanswerable: float = 0.3
    no_system: float = 0.0
    similar: float = 0.25
    same_kind: float = 0.75


@dataclass
class Document:
    """One passage: a title, its text, and the facts that the text states."""

    title: str
    text: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """A question, the one right answer, and whether the passages hold it."""

    question: str
    answer: str
    answerable: bool


@dataclass
class Chat:
    """A system message (None: retrieval is off) and the turns that follow it."""

    documents: list[Document]
    turns: list[Turn]
    system: str | None


def sample_chat(rng: Random, spec: Spec) -> Chat:
    """Draw documents of one or several kinds, and questions about them, some of which they do not answer."""
    if rng.random() < spec.no_system:
        kind = _Kind(rng, spec)
        count = min(2, spec.num_turns)
        return Chat([], [_refusal(rng, words.name(rng), rng.choice(kind.keys)) for _ in range(count)], None)
    documents, kinds = _documents(rng, spec)
    asked: set[tuple[str, str]] = set()
    turns = []
    for _ in range(spec.num_turns):
        turn = _turn(rng, spec, documents, kinds, asked)
        if turn is not None:
            turns.append(turn)
    return Chat(documents, turns, read_out(documents))


def read_out(documents: list[Document]) -> str:
    """The system message that the endpoint writes for these documents."""
    return render_system([Passage(document.title, document.text) for document in documents])


def known_answer(key: str, name: str, value: str, cite: int) -> str:
    """The answer with its citation mark."""
    return f"The {key} of {name} is {value} [{cite}]."


def unknown_answer(key: str, name: str) -> str:
    """The answer when no passage holds the fact."""
    return f"The {key} of {name} is {UNKNOWN}."


class _Kind:
    """A kind of thing: the keys that its documents state and the shape of each value."""

    def __init__(self, rng: Random, spec: Spec) -> None:
        size = spec.num_facts[1] + 2
        known = rng.random() < 0.6
        self.keys = _known_keys(rng, size) if known else []
        while len(self.keys) < size:
            draw = rng.random()
            key = invented_key(rng) if draw < 0.6 else rng.choice(KEYS)
            if self.keys and draw > 0.8:
                key = _sibling_key(rng, rng.choice(self.keys))
            if key not in self.keys:
                self.keys.append(key)
        self.shape = {key: rng.randrange(words.NUM_SHAPES) for key in self.keys}
        self.values: dict[str, list[str]] = {}
        self.noun = rng.choice(words.COMMON) if rng.random() < 0.5 else words.word(rng)

    def value(self, rng: Random, key: str) -> str:
        """A value of the key's shape; now and then that of another thing of this kind, or one that begins like it."""
        known = self.values.setdefault(key, [])
        draw = rng.random()
        made = words.value(rng, self.shape[key])
        if known and draw < 0.12:
            made = rng.choice(known)
        elif known and draw < 0.24:
            made = words.similar_value(rng, rng.choice(known))
        known.append(made)
        return made


def invented_key(rng: Random) -> str:
    """A key that no list holds: one to three lower-case words, now and then with a digit or a capital."""
    draw = rng.random()
    parts = [rng.choice((rng.choice(words.COMMON), words.word(rng))) for _ in range(1 if draw < 0.4 else 2)]
    if draw > 0.9:
        parts.append(rng.choice((words.word(rng), words.number(rng))))
    if 0.85 < draw < 0.9:
        parts[0] = words.code(rng)
    joiner = "-" if 0.8 < draw < 0.85 else " "
    return joiner.join(parts)


def _sibling_key(rng: Random, key: str) -> str:
    """A key that shares words with `key`, as "currency code" does with "currency"."""
    other = rng.choice(("code", "name", "number", "year", rng.choice(words.COMMON), words.word(rng)))
    parts = key.split(" ")
    if rng.random() < 0.5:
        return f"{key} {other}" if rng.random() < 0.7 else f"{other} {key}"
    return " ".join([*parts[:-1], other]) if rng.random() < 0.5 else " ".join([other, *parts[1:]])


def _known_keys(rng: Random, size: int) -> list[str]:
    pool = list(rng.choice(KINDS))
    rng.shuffle(pool)
    return pool[:size]


def _documents(rng: Random, spec: Spec) -> tuple[list[Document], list[_Kind]]:
    kinds = [_Kind(rng, spec)]
    documents: list[Document] = []
    owners: list[_Kind] = []
    for _ in range(rng.randint(*spec.num_passages)):
        kind = kinds[0] if rng.random() < spec.same_kind else _Kind(rng, spec)
        title = _title(rng, spec, documents)
        taken = {key for d in documents if d.title == title for key in d.facts}
        documents.append(_document(rng, spec, kind, title, taken))
        owners.append(kind)
    return documents, owners or kinds


def _title(rng: Random, spec: Spec, documents: list[Document]) -> str:
    draw = rng.random()
    if documents and draw < spec.similar:
        other = rng.choice(documents).title
        title = other if draw < 0.05 else words.similar_name(rng, other)
        if draw < 0.05 or all(title != d.title for d in documents):
            return title
    return words.name(rng)


def _document(rng: Random, spec: Spec, kind: _Kind, title: str, taken: set[str]) -> Document:
    keys = [key for key in kind.keys if key not in taken]
    keys = keys[: rng.randint(*spec.num_facts)] if rng.random() < 0.5 else keys
    count = min(len(keys), rng.randint(*spec.num_facts))
    chosen = rng.sample(keys, k=count)
    if rng.random() < 0.5:
        chosen.sort(key=kind.keys.index)
    related = {key for key in chosen if rng.random() < 0.25}
    facts = {k: words.related(rng, title) if k in related else kind.value(rng, k) for k in chosen}
    place = words.name(rng) if rng.random() < 0.5 else words.word(rng)
    opening = [rng.choice(FILLERS).format(name=title, noun=kind.noun, place=place)]
    opening += [rng.choice(FILLERS[1:]).format(name=title, noun=words.word(rng), place=place)] * (rng.random() < 0.15)
    sentences = opening + [f"The {key} of {title} is {text}." for key, text in facts.items()]
    return Document(title, " ".join(sentences), facts)


def _turn(
    rng: Random, spec: Spec, documents: list[Document], kinds: list[_Kind], asked: set[tuple[str, str]]
) -> Turn | None:
    if not documents or rng.random() < spec.unanswerable:
        name, key = _missing(rng, documents, kinds)
        stated = any(d.title == name and key in d.facts for d in documents)
        if stated or (name, key) in asked:
            return None
        asked.add((name, key))
        return _refusal(rng, name, key)
    index = rng.randrange(len(documents))
    document = documents[index]
    keys = [key for key in document.facts if (document.title, key) not in asked]
    if not keys:
        return None
    key = rng.choice(keys)
    asked.add((document.title, key))
    answer = known_answer(key, document.title, document.facts[key], index + 1)
    return Turn(_question(rng, document.title, key), answer, True)


def _missing(rng: Random, documents: list[Document], kinds: list[_Kind]) -> tuple[str, str]:
    """A name and a key that the passages most likely do not put together, though each may stand there."""
    draw = rng.random()
    key = rng.choice(rng.choice(kinds).keys) if draw < 0.85 else invented_key(rng)
    if documents and draw < 0.5:
        return rng.choice(documents).title, key
    if documents and draw < 0.65:
        return words.similar_name(rng, rng.choice(documents).title), key
    return words.name(rng), key


def _refusal(rng: Random, name: str, key: str) -> Turn:
    return Turn(_question(rng, name, key), unknown_answer(key, name), False)


def _question(rng: Random, name: str, key: str) -> str:
    return rng.choice(QUESTIONS).format(name=name, key=key)


if __name__ == "__main__":
    shown = sample_chat(Random(0), Spec(num_turns=4))
    print(shown.system, *(f"\n> {turn.question}\n{turn.answer}" for turn in shown.turns), sep="\n")
