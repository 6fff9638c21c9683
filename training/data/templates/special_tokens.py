"""The special and added tokens of a tokenizer, whatever its class keeps them in."""

from typing import Any


def special_token_texts(tokenizer: Any) -> dict[int, str]:
    """Every special token's text by its id, whatever the tokenizer's class keeps them in."""
    texts = {int(number): str(token.content) for number, token in added_tokens(tokenizer).items() if token.special}
    for text in map(str, [*tokenizer.all_special_tokens, *getattr(tokenizer, "special_tokens", {})]):
        number = tokenizer.convert_tokens_to_ids(text)
        # One that is not in the vocabulary has the number of the unknown token.
        if number is not None and tokenizer.convert_ids_to_tokens(number) == text:
            texts[int(number)] = text
    return texts


def added_token_texts(tokenizer: Any) -> dict[int, str]:
    """The text of every token that was added to the vocabulary, blank ones left out."""
    return {
        int(number): str(token.content) for number, token in added_tokens(tokenizer).items() if token.content.strip()
    }


def added_tokens(tokenizer: Any) -> dict[int, Any]:
    """The tokens that were added to the vocabulary, as the tokenizer describes them, by their id."""
    return dict(getattr(tokenizer, "added_tokens_decoder", {}))
