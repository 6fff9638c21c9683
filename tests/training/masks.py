"""What a sequence teaches, as text."""

from itertools import groupby

Segments = list[tuple[str, bool]]


def segments(tokenizer, example) -> Segments:
    """The runs of a sequence's tokens as text, and whether they are learnt."""
    tokens = zip(example.is_answer, example.token_ids, strict=True)
    return [
        (tokenizer.decode([token for _, token in run]), learnt) for learnt, run in groupby(tokens, key=lambda t: t[0])
    ]
