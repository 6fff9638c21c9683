"""Which architectures vLLM can adapt, by its source and by its classes."""

import pytest

from serving.engine.lora_support import known_support, registered_classes, supports_adapters

ADAPTABLE = ["LlamaForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM", "Gemma3ForCausalLM", "MixtralForCausalLM"]
NOT_ADAPTABLE = ["GPT2LMHeadModel", "MambaForCausalLM"]


@pytest.mark.parametrize(("architectures", "supported"), [(ADAPTABLE, True), (NOT_ADAPTABLE, False)])
def test_the_source_says_what_can_be_adapted(architectures: list[str], supported: bool) -> None:
    assert [known_support(architecture) for architecture in architectures] == [supported] * len(architectures)
    assert all(supports_adapters([architecture]) is supported for architecture in architectures)


def test_what_is_not_known_is_left_to_the_engine() -> None:
    assert known_support("SomethingOfARemoteRepository") is None
    assert supports_adapters(["SomethingOfARemoteRepository"]) and supports_adapters([])
    assert len(registered_classes()) > 300


@pytest.mark.slow
def test_the_classes_say_the_same() -> None:
    from importlib import import_module

    from vllm.model_executor.models.interfaces import supports_lora

    for architecture in ADAPTABLE + NOT_ADAPTABLE:
        module, name = registered_classes()[architecture]
        loaded = getattr(import_module(f"vllm.model_executor.models.{module}"), name)
        assert supports_lora(loaded) is known_support(architecture), architecture
