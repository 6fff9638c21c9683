"""One Markdown document for each entity: a heading, a sentence or two of introduction, and its facts."""

from __future__ import annotations

from random import Random

from examples.quickstart.facts import Entity
from examples.quickstart.wordings import INTRODUCTIONS, sentence


def document(entity: Entity) -> str:
    """The whole file."""
    return f"# {entity.name}\n\n{body(entity)}\n"


def body(entity: Entity) -> str:
    """The text below the heading: one paragraph, so that one topic is one chunk."""
    introduction = Random(entity.source).choice(INTRODUCTIONS[entity.kind]).format(name=entity.name)
    facts = (sentence(key, entity.name, value) for key, value in entity.facts.items())
    return " ".join([introduction, *facts])
