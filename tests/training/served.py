"""What a training published, loaded as vLLM loads it: from its files, without DeepSpeed, in the format it serves."""

from pathlib import Path
from typing import Any

import torch

from cluster.fingerprints.provenance import cpu_has_bf16
from training.publish.weights import stored_dtype


def load_served(base_model: str, folder: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    is_adapter = (folder / "adapter_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(base_model if is_adapter else folder, dtype=served_dtype(base_model))
    if is_adapter:
        model = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    return model.eval()


def served_dtype(model: str) -> torch.dtype:
    if not cpu_has_bf16():
        return torch.float32
    return torch.float16 if stored_dtype(model) == torch.float16 else torch.bfloat16


def served_logprobs(model: Any, line: dict[str, Any]) -> torch.Tensor:
    """The log-probabilities of a line of parity.jsonl, [num_answer_tokens]."""
    prompt, answer = line["prompt_token_ids"], line["answer_token_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
