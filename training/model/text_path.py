"""Which parts of a model no gradient of a row's loss reaches. An adapter there would be trained with nothing.

Text does not go through towers for images and sound, through what joins them to the text, nor through attention to an
encoder. An indexer only ranks the tokens that attention then looks at. Mamba's step projection is computed from its
weight, past an adapter beside it.
"""

import re
from typing import Any

_OTHER_INPUTS = re.compile(r"vision|visual|image|img|video|audio|speech|sound|multi_?modal|mm_", re.IGNORECASE)
# Attention of a decoder to an encoder that is not there, as in BartForCausalLM; DeepSeek 3.2; Jamba; Gemma 3n.
_WITHOUT_GRADIENT = re.compile(r"encoder_attn|crossattention|indexer|dt_proj|correction_coefs")


def unreached_parts(base: Any) -> tuple[str, ...]:
    """Names of the outermost modules whose layers no gradient reaches, in the order of the model."""
    has_other_inputs = _has_other_inputs(base.config)
    parts: list[str] = []
    for name, module in base.named_modules():
        if not name or any(name.startswith(f"{outer}.") for outer in parts):
            continue
        last = name.rpartition(".")[2]
        if (has_other_inputs and _is_for_other_inputs(module, last)) or _WITHOUT_GRADIENT.fullmatch(last):
            parts.append(name)
    return tuple(parts)


def _has_other_inputs(config: Any) -> bool:
    """Whether a model has a part for images or sound: a configuration of its own for one, or a text part beside it."""
    return config.get_text_config() is not config or any(_OTHER_INPUTS.search(name) for name in config.sub_configs)


def _is_for_other_inputs(module: Any, last_name: str) -> bool:
    """By what transformers says of a model inside a model, or by the module's name."""
    modalities = vars(type(module)).get("input_modalities")
    if modalities is not None:
        return "text" not in ([modalities] if isinstance(modalities, str) else modalities)
    return _OTHER_INPUTS.search(last_name) is not None
