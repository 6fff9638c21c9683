"""Chat templates by how they end an answer, written for the tests in the manner of public models' families."""

from dataclasses import dataclass

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def turns(user: str, assistant: str, system: str = "{{ m.content }}\n", prompt: str = "", begin: str = "") -> str:
    """A template of one text for each role; `prompt` is what asks for an answer, with which each answer begins."""
    return (
        begin + "{% for m in messages %}{% if m.role == 'system' %}" + system + "{% elif m.role == 'user' %}" + user
        + "{% else %}" + prompt + assistant + "{% endif %}{% endfor %}{% if add_generation_prompt %}" + prompt
        + "{% endif %}"
    )  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A template, the tokens of its model, and the end that is learnt; None where it has none."""

    template: str
    special: tuple[str, ...]
    eos: str | None
    end: str | None
    added: tuple[str, ...] = ()
    """Tokens that were added without being special."""


FAMILIES = {
    "llama 3": Family(
        turns(
            "<|start_header_id|>user<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>",
            "{{ m.content | trim }}<|eot_id|>",
            prompt="<|start_header_id|>assistant<|end_header_id|>\n\n", begin="<|begin_of_text|>",
        ), ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|end_of_text|>", "<|eot_id|>",
    ),
    "gemma": Family(
        turns("<start_of_turn>user\n{{ m.content | trim }}<end_of_turn>\n", "{{ m.content | trim }}<end_of_turn>\n",
              prompt="<start_of_turn>model\n", begin="<bos>"),
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<end_of_turn>",
    ),
    "mistral": Family(turns("[INST] {{ m.content }} [/INST]", " {{ m.content }}</s>", begin="<s>"),
                      (), "</s>", "</s>"),
    "zephyr": Family(turns("<|user|>\n{{ m.content }}</s>\n", "{{ m.content }}</s>\n", prompt="<|assistant|>\n"),
                     (), "</s>", "</s>"),
    "phi": Family(turns("<|user|>\n{{ m.content }}<|end|>\n", "{{ m.content }}<|end|>\n", prompt="<|assistant|>\n"),
                  ("<|endoftext|>",), "<|endoftext|>", "<|end|>"),
    "gpt-oss": Family(
        turns("<|start|>user<|message|>{{ m.content }}<|end|>",
              "<|channel|>final<|message|>{{ m.content }}{% if loop.last and not add_generation_prompt %}<|return|>"
              "{% else %}<|end|>{% endif %}", prompt="<|start|>assistant"),
        ("<|message|>", "<|channel|>", "<|return|>"), "<|return|>", "<|return|>",
    ),
    "deepseek": Family(
        turns("<｜User｜>{{ m.content }}", "{{ m.content }}<｜end▁of▁sentence｜>", prompt="<｜Assistant｜>",
              begin="<｜begin▁of▁sentence｜>"),
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
    ),
    "cohere": Family(
        turns("<|TURN|><|USER|>{{ m.content }}<|END_OF_TURN|>", "{{ m.content }}<|END_OF_TURN|>",
              prompt="<|TURN|><|CHATBOT|>"),
        ("<|TURN|>", "<|USER|>", "<|CHATBOT|>", "<|END_OF_TURN|>"), "<|END_OF_TURN|>", "<|END_OF_TURN|>",
    ),
    "chatml on a base model": Family(CHATML, ("<|im_start|>", "<|im_end|>"), "</s>", "<|im_end|>"),
    "chatml with tokens that are not special": Family(CHATML, (), "</s>", "<|im_end|>",
                                                      added=("<|im_start|>", "<|im_end|>")),
    "chatml without its tokens": Family(CHATML, (), "</s>", None),
    "vicuna": Family(turns("USER: {{ m.content }}\n", "{{ m.content }}\n", prompt="ASSISTANT: "), (), "</s>", None),
    "vicuna with an end": Family(
        turns("USER: {{ m.content }} ", "{{ m.content }}{{ eos_token }}", prompt="ASSISTANT: "), (), "</s>", "</s>",
    ),
    "nothing behind the answer": Family(turns("Q: {{ m.content }}\n", "{{ m.content }}", prompt="A: "), (), None, None),
    "an end of another model": Family(turns("[USER] {{ m.content }}\n", "{{ m.content }}<|im_end|>",
                                            prompt="[BOT] "), (), "</s>", None),
}  # fmt: skip
