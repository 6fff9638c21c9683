"""The tokens that a request takes: expected before it, counted while it is answered, known at its end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.prompt import estimate_tokens

ANSWER_TOKENS = 256
"""Reserved for an answer whose length the request leaves open."""


@dataclass
class TokenUsage:
    """The tokens of one request: reserved before it, counted as they come, and reported by the engine at the end."""

    prompt: int
    reserved: int
    generated: int = 0
    reported: int | None = None
    first_at: float | None = None
    last_at: float | None = None
    """When the first and the latest token of a stream came (time.monotonic)."""

    def came(self) -> None:
        """One more token."""
        self.generated += 1
        self.last_at = time.monotonic()
        if self.first_at is None:
            self.first_at = self.last_at

    @classmethod
    def of_answer(cls, body: dict[str, Any]) -> "TokenUsage":
        """What a request for text may take: its prompt and the longest answer that it allows."""
        prompt = estimate_tokens(str(body.get("messages") or body.get("prompt") or ""))
        longest = body.get("max_completion_tokens") or body.get("max_tokens")
        length = longest if type(longest) is int and longest > 0 else ANSWER_TOKENS
        choices = body.get("n")
        return cls(prompt, prompt + length * (choices if type(choices) is int and choices > 0 else 1))

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> "TokenUsage":
        """What it takes to read texts."""
        prompt = sum(map(estimate_tokens, texts))
        return cls(prompt, prompt)

    @property
    def num_tokens(self) -> int:
        return self.reported if self.reported is not None else min(self.reserved, self.prompt + self.generated)
