"""The keys of rows and of messages in one table: which are read, which are refused, and which change nothing.

A key is looked up in this order. A key of a format (`CONTENT_KEYS`, `ROW_KEYS`, `MESSAGE_KEYS`) is read, or it repeats
what another key says. A key in `REFUSED_ROW_KEYS` or `REFUSED_MESSAGE_KEYS`, or with a word of `MEDIA_WORDS`, is
refused with its reason. A key that `is_harmless` recognises is listed as not used. Every other key might change what
the model sees or learns: a row where it has a value is bad, unless `training.data` names it under `ignore`. A key
without a value (`is_empty`) is as good as absent: Parquet has every column in every row.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, get_args

Format = Literal[
    "chat messages", "prompt and completion", "alpaca", "sharegpt", "preference pairs", "question and answer"
]
FORMATS: tuple[Format, ...] = get_args(Format)

MESSAGES_KEYS: dict[str, Format] = {
    "messages": "chat messages",
    "conversations": "sharegpt",
    "conversation": "sharegpt",
}
"""Keys that hold a list of messages."""

ANSWERED_KEYS: dict[tuple[str, ...], Format] = {
    ("prompt", "completion"): "prompt and completion",
    ("instruction", "output"): "alpaca",
    ("instruction", "response"): "question and answer",
    ("question", "answer"): "question and answer",
    ("question", "response"): "question and answer",
    ("query", "response"): "question and answer",
    ("query", "answer"): "question and answer",
    ("prompt", "response"): "question and answer",
    ("prompt", "answer"): "question and answer",
    ("prompt", "output"): "question and answer",
    ("input", "output"): "question and answer",
    ("user", "assistant"): "question and answer",
    ("human", "assistant"): "question and answer",
    ("problem", "solution"): "question and answer",
    ("instruction", "answer"): "question and answer",
    ("instruction", "completion"): "question and answer",
    ("question", "output"): "question and answer",
    ("question", "completion"): "question and answer",
    ("query", "output"): "question and answer",
    ("input", "response"): "question and answer",
    ("input", "answer"): "question and answer",
}
"""Pairs of a question's key and an answer's key, in the order in which they are looked for."""

EXCHANGE_KEYS: tuple[tuple[str, str], ...] = (
    ("human", "assistant"), ("user", "assistant"), ("input", "output"), ("question", "answer"), ("prompt", "response"),
)  # fmt: skip
"""Keys of a list's items that are a question and its answer, and not one message (ms-swift, Capybara)."""

INSTRUCTION_INPUT_KEYS = ("input", "context")
"""What an `instruction` is about: alpaca calls it `input`, Dolly `context`."""

PAIR_KEYS: tuple[tuple[str, str], ...] = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("preferred_output", "non_preferred_output"),
    ("chosen_messages", "rejected_messages"),
    ("messages", "rejected_messages"),
    ("messages", "rejected_response"),
    ("response", "rejected_response"),
)
"""Keys of the preferred answer and of the other: TRL's, Argilla's, OpenAI's, LLaMA-Factory's and ms-swift's."""

PAIR_PROMPT_KEYS = ("prompt", "question", "query", "instruction", "input", *MESSAGES_KEYS)
"""What a preference pair answers, where its sides do not begin with that."""

SYSTEM_KEYS = ("system", "system_prompt", "system_message")
"""Keys of the system message, in a row of any format."""

ROW_KEYS = ("id", "source", "sources", "prompt_hash")
"""Keys that are read in a row of any format and are no part of the conversation."""

CONTENT_KEYS = frozenset({
    *MESSAGES_KEYS, *(key for pair in (*ANSWERED_KEYS, *PAIR_KEYS) for key in pair), *PAIR_PROMPT_KEYS,
    *INSTRUCTION_INPUT_KEYS, *SYSTEM_KEYS, "text", "history",
})  # fmt: skip
"""Keys of some format. Where another key already says the same, such a key is listed as not used."""

CALL_ROLES = ("function_call", "tool_call", "tool_calls")
"""Roles of messages whose text is the JSON of a call, or of a list of calls (LLaMA-Factory, ms-swift)."""
RESULT_ROLES = ("tool", "function", "observation", "tool_response", "ipython")
"""Roles of messages that hold what a tool gave back."""
TOOLS_KEYS = ("tools", "functions")
"""Keys of a row that hold its tools; `functions` is OpenAI's former name."""
CALLS_KEYS = ("tool_calls", "function_call")
"""Keys of a message that hold its calls; `function_call` is OpenAI's former name, for one call."""
CHOICE_KEYS = ("tool_choice", "function_call", "parallel_tool_calls")
"""Keys of a row that bind what is generated and change no prompt: its answer shows what was chosen."""
THINKING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
"""Keys of a message that hold its thinking: of DeepSeek and Qwen, of OpenAI and vLLM, of gpt-oss, and of others."""
SETTINGS_KEY = "chat_template_kwargs"
"""The key of a row that holds its settings of the chat template."""

ROLES: dict[str, str] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "chatbot": "assistant",
    "model": "assistant", "ai": "assistant", "bing": "assistant", "bard": "assistant",
    **dict.fromkeys(RESULT_ROLES, "tool"), **dict.fromkeys(CALL_ROLES, "assistant"),
}  # fmt: skip
"""The role of a message by the name that it has, in any case. `developer` is OpenAI's later name of `system`."""

_TOOLS = "calls are read from `tool_calls` of the assistant's messages, and results from messages of the role tool"
_ROW_TOOLS = "tools are read from `tools` of the row, beside its messages"
_THINKING = "thinking is read from `reasoning_content` of the assistant's message, or from <think>...</think> in it"

ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value", "text")
MESSAGE_KEYS = (*ROLE_KEYS, *TEXT_KEYS, "name", *CALLS_KEYS, "tool_call_id", *THINKING_KEYS)
"""Keys that are read in a message, beside those of `LOSS_FLAGS`. `name` goes to the chat template."""

LOSS_FLAGS: dict[str, Literal["weight of an answer", "learn", "leave out"]] = {
    "weight": "weight of an answer", "loss": "weight of an answer",
    "loss_weight": "learn", "loss_scale": "learn", "loss_mask": "learn", "train": "learn", "training": "learn",
    "train_on": "learn", "train_on_turn": "learn", "trainable": "learn", "learn": "learn",
    "masked": "leave out", "is_masked": "leave out",
}  # fmt: skip
"""Keys of a message that say whether it is learnt. A `weight of an answer` only scales answers (OpenAI, Mistral,
ms-swift), and says nothing in other messages. `learn` asks for the message itself, whoever speaks (axolotl,
LLaMA-Factory), which is refused where that is not the assistant. `leave out` is the opposite (torchtune)."""

ROW_LOSS_FLAGS = ("weight", "loss_weight")
"""Keys of a row that scale the loss of all its answers."""

REFUSED_ROW_KEYS: dict[str, str] = {
    "tool_calls": _TOOLS,
    **dict.fromkeys(("reasoning", "reasoning_content", "thinking", "thought", "cot"), _THINKING),
    "chat_template": "a chat template is not read from rows; the model's is used",
    **dict.fromkeys(("label", "kto_tag"),
                    "labels of good and bad answers are learnt from with `training.objective: kto`; where it is "
                    "another label, name it under `ignore` of its source"),
    "documents": "documents for the chat template are not read",
    **dict.fromkeys(("mask", "train", "training", "train_on", "loss", "loss_mask", "masked", "train_on_turn",
                     "train_detail", "train_on_inputs", "train_on_prompt", "learn"),
                    "what is learnt is said by `weight` (0 to 1) in each message"),
}  # fmt: skip
"""Keys of a row that change what is learnt and are not read, with the reason. Those that a part of Tandem learns to
read leave this table."""

REFUSED_MESSAGE_KEYS: dict[str, str] = {
    **dict.fromkeys(("tool_call", "call"), _TOOLS), **dict.fromkeys(("tools", "functions"), _ROW_TOOLS),
    "refusal": "a refusal that is written apart from the answer is not trained on; write it as `content`",
    "mask": "it can mean both; write `weight`: 0 where the message is not learnt",
    "train_detail": "parts of a message cannot be left out; write `weight`: 0 where the message is not learnt",
}  # fmt: skip
"""The same for the keys of a message."""

REFUSED_PARTS: dict[str, str] = {
    **dict.fromkeys(("tool_call", "tool_calls", "tool_use", "tool_result", "function_call"), _TOOLS),
    "tools": _ROW_TOOLS,
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking"), _THINKING),
    "refusal": "a refusal that is written apart from the answer is not trained on",
}
"""Types of content parts that are not read, with the reason."""

MEDIA_WORDS = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "pixel", "pixels", "video", "videos",
    "frame", "frames", "media", "multimedia", "audio", "audios", "sound", "sounds", "speech", "bbox", "bboxes",
})  # fmt: skip
MEDIA_REASON = "images, audio and video are not trained on"

# What describes a row and is no part of it.
_HARMLESS = frozenset(
    re.findall(
        r"\w+",
        """
    id ids idx index uuid guid row row_number line number no turn position unnamed_0 index_level_0
    source sources src origin provenance dataset datasets dataset_name subset corpus collection
    file files filename file_name path filepath file_path page pages section chapter document_name
    url urls uri link links references citation citations annotations license licence copyright attribution
    score scores rating ratings rank reward rewards quality difficulty level complexity confidence similarity perplexity
    helpfulness honesty truthfulness correctness coherence verbosity toxic toxicity safety severity
    upvotes downvotes votes likes stars
    date datetime time timestamp created updated modified year month day
    language languages language_code lang locale country country_code state region category categories topic topics
    domain domains tag tags keyword keywords genre type kind split fold partition version revision title
    author authors annotator annotators creator contributor worker
    model models model_name generator generated_by provider finish_reason stop_reason
    usage cost latency duration length len size
    hash md5 sha sha1 sha256 sha512 checksum fingerprint digest
    meta metadata info extra_info redacted moderation detoxify_moderation openai_moderation hashed_ip ip turn_identifier
    parallel_tool_calls cache_control
    """,
    )
)
_HARMLESS_FIRST = frozenset(
    ("meta", "metadata", "num", "n", "score", "rating", "created", "updated", "modified", "timestamp")
)
# Beside these words, such a key is another version of what is asked or answered (`updated_answer`, `meta_prompt`).
_OTHER_VERSIONS = frozenset(("meta", "created", "updated", "modified"))
_SPOKEN = frozenset(
    re.findall(
        r"\w+",
        """
    prompt prompts question questions query input messages message conversation conversations turn turns text content
    answer answers response responses completion completions output outputs chosen rejected solution history
    """,
    )
)
_HARMLESS_LAST = frozenset(
    re.findall(
        r"\w+",
        """
    id ids idx index uuid guid hash md5 sha256 checksum url urls uri link score scores rating ratings reward rank
    at date time timestamp count length len language lang category topic difficulty quality model version license type
    metadata meta dataset split source sources
    """,
    )
)
# A key with such a word is not recognised by its words.
_TELLING = frozenset(
    re.findall(
        r"\w+",
        """
    loss train training trainable learn mask masked weight weights label labels class tool tools function functions
    system template reasoning thinking context instruction instructions
    """,
    )
)
# Such keys of a message may say who speaks, or what kind of message it is.
_TELLING_IN_MESSAGES = frozenset(("author", "type", "kind", "section", "title", "state"))


def normalise_key(key: str) -> str:
    """A key in lower case with its words joined by `_`: `createdAt`, `Created At` and `created-at` are `created_at`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.strip())
    return re.sub(r"[^\w]+|_+", "_", parted.lower()).strip("_")


@lru_cache(maxsize=4096)
def is_harmless(key: str, in_message: bool = False) -> bool:
    """Whether a key is known to say nothing about what the model sees and learns: ids, scores, dates, sources."""
    name = normalise_key(key)
    words = name.split("_")
    if in_message and _TELLING_IN_MESSAGES & set(words):
        return False
    if not name:
        return not key.strip() and not in_message  # the index that pandas writes
    if name in _HARMLESS:
        return True
    if _TELLING & set(words):
        return False
    joined = words[0] != "name" and all(word in _HARMLESS or word == "name" for word in words)
    is_version = words[0] in _OTHER_VERSIONS and bool(_SPOKEN & set(words))
    return joined or (words[0] in _HARMLESS_FIRST and not is_version) or words[-1] in _HARMLESS_LAST


@lru_cache(maxsize=4096)
def is_media(key: str) -> bool:
    """Whether a key names images, audio or video."""
    return bool(MEDIA_WORDS & set(normalise_key(key).split("_")))


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, blank, a list of nulls, an object of such values. False and 0 are values."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            left.extend(each.values())
        elif isinstance(each, str):
            if each.strip() not in ("", "[]", "{}"):
                return False
        elif each is not None and not (isinstance(each, list | tuple) and all(item is None for item in each)):
            return False
    return True
