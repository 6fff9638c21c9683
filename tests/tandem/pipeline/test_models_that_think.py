"""A model that thinks, on the real app: arguments of its chat template, the reasoning parser, and a comparison."""

from collections.abc import Iterator
from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.session import ray_session
from cluster.storage.storage import Storage
from evaluation.arms import make_arms
from evaluation.asking.ask import ask_all
from evaluation.config import EvaluationConfig
from evaluation.questions.question import Question
from serving.client import AskFailed, ask, connect
from serving.config import ServingConfig
from tests.ports import free_port
from tests.serving.served_app import MODEL
from tests.serving.thinking_model import CAPITALS, THOUGHT, make_thinking_model, question

pytestmark = pytest.mark.slow
OFF: Any = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture(scope="module", params=["qwen3", pytest.param(None, marks=pytest.mark.matrix)])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str | None]]:
    """The URL of the endpoint, and its reasoning parser."""
    from serving.deploy.run import running_endpoint

    folder = tmp_path_factory.mktemp("thinking")
    model = make_thinking_model(folder / "model")
    config = ServingConfig(port=free_port(), reasoning_parser=request.param, adapters=False, max_model_len=256)
    with (
        ray_session(ClusterConfig()),
        running_endpoint(config, str(model), Storage(folder / "storage"), None, None, lambda _: None) as url,
    ):
        yield url, request.param


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_asked_for_or_not_and_a_parser_takes_it_out(served: tuple[str, str | None], stream: bool) -> None:
    url, parser = served
    with connect(url) as client:
        for country, capital in CAPITALS.items():
            for more in ({}, OFF):
                said, thought = spoken(client, question(country), stream, more)
                if parser is None:
                    assert said == (capital if more else f"<think>\n{THOUGHT}\n</think>\n\n{capital}")
                    assert thought == ""
                else:
                    assert (said.strip(), thought.strip()) == (capital, "" if more else THOUGHT)


def spoken(client: Any, text: str, stream: bool, more: dict[str, Any]) -> tuple[str, str]:
    """What is said, and what is thought beside it."""
    asked: Any = {"model": "base", "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 100}
    answer = client.chat.completions.create(**asked, extra_body=more, stream=stream)
    parts = [each.delta for chunk in answer for each in chunk.choices] if stream else [answer.choices[0].message]
    read = [(part.content or "", (part.model_extra or {}).get("reasoning") or "") for part in parts]
    return "".join(said for said, _ in read), "".join(thought for _, thought in read)


def test_arguments_that_would_change_the_conversation_are_refused_in_words(served: tuple[str, str | None]) -> None:
    with connect(served[0]) as client:
        for arguments in ({"messages": "x"}, {"tokenize": False}, {"max_length": 10**9}, {"a": [1]}, "no"):
            with pytest.raises(AskFailed, match="chat_template_kwargs"):
                ask(client, "base", "Why?", extra_body={"chat_template_kwargs": arguments})


def test_thinking_on_and_off_are_compared(served: tuple[str, str | None]) -> None:
    questions = [
        Question(id=name, slice="s", question=question(name), answers=(city,)) for name, city in CAPITALS.items()
    ]
    arms = make_arms(("base", "base_thinking", "base_no_thinking"))
    for settings, answers in (({}, list(CAPITALS.values())), ({"thinking_tokens": 0, "max_tokens": 6}, [None] * 4)):
        collected = ask_all(EvaluationConfig(**settings), served[0], arms, questions, lambda _: None)  # type: ignore[arg-type]
        replies = {arm.name: [collected.of("first", name, arm.name)[0] for name in CAPITALS] for arm in arms}
        assert not any(reply.failed for each in replies.values() for reply in each), (
            "the limit is more than there is room for"
        )
        for arm in ("base", "base_thinking"):
            assert [reply.text for reply in replies[arm]] == answers
            assert {reply.no_answer for reply in replies[arm]} == {None if answers[0] else "cut_off"}
            assert all(reply.thinking for reply in replies[arm])
        assert [reply.text for reply in replies["base_no_thinking"]] == list(CAPITALS.values())
        assert collected.thinking == {"base", "base_thinking"}


def test_a_parser_that_does_not_fit_the_model_is_refused_at_the_start() -> None:
    """vLLM would fail the first request: the quickstart's tokenizer has no tag for thinking."""
    from transformers import AutoTokenizer

    # It imports vLLM, which takes ten seconds.
    from serving.engine.llm_server import check_reasoning_parser

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    check_reasoning_parser("qwen3", tokenizer)
    with pytest.raises(RuntimeError, match=r"`serving\.reasoning_parser` is deepseek_r1, which does not fit the model"):
        check_reasoning_parser("deepseek_r1", tokenizer)
