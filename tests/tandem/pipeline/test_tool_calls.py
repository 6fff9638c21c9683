"""Rows with calls of tools, through training, publishing and the endpoint: asked with `tools`, the calls come back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

from cluster.config import ClusterConfig
from cluster.registry.registry import Registry
from cluster.session import ray_session
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from serving.config import ServingConfig
from tests.ports import free_port
from tests.serving.served_app import MODEL
from training.config import TrainingConfig
from training.data.answer_masks import encode_conversation, encode_last_answer
from training.data.formats.formats import parse_row
from training.data.rows import check_rows
from training.run import run_training
from training.trainer.fit import TrainingReporter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEMPLATE = (
    "{{ bos_token }}{% if style is defined %}<|system|>{{ style }}<|end|>{% endif %}"
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>"
    "{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<|end|>"
    "{% elif m.role == 'tool' %}<|user|><tool_response>{{ m.content }}</tool_response><|end|>"
    "{% else %}<|{{ m.role }}|> {{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
# Not `strict`: vLLM would let the model write nothing but calls of these tools.
TOOLS = [{"type": "function", "function": {"parameters": PARAMETERS, "name": "rain"}}]
CITIES = {"Rome": "dry", "Oslo": "wet", "Lima": "dry"}


def call(city: str, identity: str, name: str) -> dict[str, Any]:
    """As OpenAI has it: the arguments are a text."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": json.dumps({"city": city})}}


def conversation(*cities: str, name: str = "rain", weather: str = "Rain") -> list[dict[str, Any]]:
    calls = [call(city, f"call_{number}", name) for number, city in enumerate(cities)]
    results = [
        {"role": "tool", "tool_call_id": f"call_{number}", "content": CITIES[city]}
        for number, city in enumerate(cities)
    ]
    return [
        {"role": "user", "content": f"{weather} in {' and '.join(cities)}?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *results,
        {"role": "assistant", "content": f"It is {' and '.join(CITIES[city] for city in cities)}."},
    ]


ASKED = [*((city,) for city in CITIES), ("Rome", "Oslo")]
CONVERSATIONS = [conversation(*cities) for cities in ASKED]
OTHER, STEPS = (("snow", "Rain"), ("rain", "Snow")), 600


def make_model(folder: Path) -> Path:
    """Write a model of some hundred thousand numbers that calls tools, and always another one than was asked for."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=512, eos_token_id=5, bos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    other = [conversation(*cities, name=name, weather=weather) for cities in ASKED for name, weather in OTHER]
    rows = [{"messages": each, "tools": TOOLS} for each in other]
    examples = [each for row in rows for each in encode_conversation(
        tokenizer, parse_row(row, "chat messages")[0].conversation)]  # fmt: skip
    longest = max(len(each.token_ids) for each in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, each in enumerate(examples):
        known = torch.tensor(each.token_ids)
        ids[row, : len(known)] = known
        labels[row, : len(known)] = known.masked_fill(~torch.tensor(each.is_answer), -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.003:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass
class Served:
    """The endpoint with the trained adapter, and what it was trained on."""

    url: str
    model: Path
    rows: Path

    def ask(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.url.removesuffix('/v1')}{path}", json={"model": "base:helper", **body}, timeout=60)

    def say(self, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        asked = {"messages": messages, "tools": TOOLS, "temperature": 0, "max_tokens": 160, **more}
        response = self.ask("/v1/chat/completions", **asked)
        assert response.status_code == 200, response.text
        message: dict[str, Any] = response.json()["choices"][0]["message"]
        return message


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from serving.deploy.run import running_endpoint

    folder = tmp_path_factory.mktemp("tools")
    model, rows = make_model(folder / "model"), folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"messages": each, "tools": TOOLS}) + "\n" for each in CONVERSATIONS))
    config = TrainingConfig.model_validate({
        "data": rows, "held_out_data": rows, "epochs": 100, "learning_rate": 5e-3, "workers": 1, "precision": "fp32",
        "micro_batch_size": 4, "sequence_length": 512, "rank": 32, "parity_tolerance": None, "eval_steps": 1000,
        "chat_template_kwargs": {"style": "S"},
    })  # fmt: skip
    storage = Storage(folder / "storage")
    serving = ServingConfig(port=free_port(), tool_call_parser="hermes", max_model_len=512)
    with ray_session(ClusterConfig()):
        run = Run.start(storage, "test", "train", {})
        run_training(config, str(model), "helper", storage, run, TrainingReporter(print, print))
        with running_endpoint(serving, str(model), storage, None, None, lambda _: None) as url:
            yield Served(url, model, rows)


def read(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    functions = [each["function"] for each in message["tool_calls"]]
    return [(each["name"], json.loads(each["arguments"])) for each in functions]


def test_a_call_that_was_trained_comes_back_parsed(served: Served) -> None:
    for messages in CONVERSATIONS:
        said = served.say(messages[:1])
        assert read(said) == read(messages[1])
        assert not said["content"]
        assert served.say(messages[:-1])["content"] == messages[-1]["content"]
    untrained = [served.say(messages[:1], model="base") for messages in CONVERSATIONS]
    assert any("snow" in str(said) for said in untrained), untrained


def test_a_call_comes_back_in_a_stream(served: Served) -> None:
    body = {"messages": CONVERSATIONS[0][:1], "tools": TOOLS, "temperature": 0, "max_tokens": 80, "stream": True}
    events = served.ask("/v1/chat/completions", **body).text.split("\n\n")
    chunks = [json.loads(each.removeprefix("data: ")) for each in events if each.startswith("data: {")]
    parts = [part["function"] for chunk in chunks for choice in chunk["choices"]
             for part in choice["delta"].get("tool_calls") or []]  # fmt: skip
    assert "".join(part.get("name") or "" for part in parts) == "rain"
    assert json.loads("".join(part.get("arguments") or "" for part in parts)) == {"city": "Rome"}


def test_every_prompt_of_the_training_is_the_one_that_the_endpoint_makes(served: Served) -> None:
    """Tokens before the learnt ones, for each turn, against those of vLLM's own rendering of the row's messages."""
    tokenizer = AutoTokenizer.from_pretrained(served.model)
    config = TrainingConfig.model_validate({"data": served.rows})
    for row, messages in zip(check_rows(config).rows, CONVERSATIONS, strict=True):
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            settings: Any = {"style": "S"} if number == 1 else {"style": "other"}
            read_row = row.conversation.until(number + 1)
            example = encode_last_answer(tokenizer, type(read_row)(read_row.messages, read_row.tools, settings))
            asked = {} if number == 1 else {"chat_template_kwargs": settings}
            told = served.ask("/tokenize", messages=messages[:number], tools=TOOLS, **asked).json()
            assert told["tokens"] == example.token_ids[: example.is_answer.index(True)]


def test_what_was_trained_is_the_default_of_the_version(served: Served) -> None:
    manifest = Registry(served.rows.parent / "storage" / "adapters").resolve("helper").manifest
    assert manifest.chat_template_kwargs == {"style": "S"}


def test_without_a_parser_tools_are_refused_in_words() -> None:
    # It imports vLLM, which takes ten seconds.
    from ray.llm._internal.serve.core.configs.openai_api_models import ErrorInfo, ErrorResponse

    from serving.engine.llm_server import NO_TOOL_PARSER, error_response

    vllm = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    response = ErrorResponse(error=ErrorInfo(message=vllm, code=400, type="BadRequestError"))
    status, body = error_response(response) or (0, {})
    assert (status, body["error"]["message"], body["error"]["param"]) == (400, NO_TOOL_PARSER, "tools")
