"""Which passages an answer was given, and which of them it cites."""

import re
from collections.abc import Sequence
from typing import Any, Protocol

_MARK = re.compile(r"\[([1-9][0-9]?[0-9]?)\]")


class Retrieved(Protocol):
    """What a citation tells of a passage; retrieval's Hit is one."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def citation(self) -> str: ...
    @property
    def also_in(self) -> tuple[str, ...]: ...
    @property
    def position(self) -> int: ...
    @property
    def last_position(self) -> int: ...


def citations(hits: Sequence[Retrieved], text: str, with_passages: bool = False) -> list[dict[str, Any]]:
    """One entry per passage in the order of the prompt; `cited` where `text` holds its mark, like [1].

    `span` has the numbers of the first and the last chunk of its document that the passage holds;
    `with_passages` adds its text.
    """
    marks = {int(number) for number in _MARK.findall(text)}
    return [
        {
            "id": hit.id,
            "index": index,
            "source": hit.source,
            "title": hit.title,
            "score": hit.score,
            "span": [hit.position, hit.last_position],
            "citation": hit.citation,
            "also_in": list(hit.also_in),
            "cited": index in marks,
            **({"text": hit.text} if with_passages else {}),
        }
        for index, hit in enumerate(hits, start=1)
    ]
