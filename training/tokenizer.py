"""The base model's tokenizer, and how long a row may be."""

from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.models import find_model
from training.config import TrainingConfig


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model in a folder or on the hub.

    Raises:
        TandemError: there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    find_model(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise TandemError(
            f"The tokenizer of {model} cannot be loaded ({str(error).splitlines()[0]}).",
            "A model with a fast tokenizer, in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error
    if not tokenizer.chat_template:
        raise TandemError(
            f"The model {model} has no chat template.",
            "A model that was made for chat, or a tokenizer with a `chat_template`.",
            "Name an instruct model, or put chat_template.jinja beside the tokenizer.",
        )
    return tokenizer


def longest_row(config: TrainingConfig, model: str) -> int:
    """Tokens of the longest row that is accepted: the sequence length, or the model's number of positions."""
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    return min(config.sequence_length, int(positions)) if positions else config.sequence_length
