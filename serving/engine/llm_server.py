"""Ray's LLM server over vLLM, with what it lacks: adapters on a local disk. The only importer of either.

Read in Ray 2.60 and vLLM 0.29: Ray loads adapters from object stores only, imports vLLM once more in a task that
downloads nothing when the model is a folder, and asks for vLLM's multi-process executor on a CPU, where a process more
costs one more import of vLLM at the start and one more hop per token.
"""

import asyncio
import itertools
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.common.errors import VLLM_CLIENT_ERRORS
from ray.llm._internal.common.errors import VLLM_FATAL_ERRORS as FATAL_ERRORS
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.core.configs.openai_api_models import (
    DetokenizeRequest,
    ErrorResponse,
    TokenizeChatRequest,
    TokenizeCompletionRequest,
)
from ray.llm._internal.serve.core.protocol import RawRequestInfo
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager

from serving.api.errors import error_body

__all__ = ["FATAL_ERRORS", "AdapterServer", "error_response", "parse_engine_request", "raw_request", "start_server"]
UNLOAD_AFTER_S = 2.0
NO_TOOL_PARSER = (
    "This endpoint does not read calls of tools: set `serving.tool_call_parser` to vLLM's parser for the model, such "
    "as hermes, or send `tool_choice: none`."
)
REQUESTS = {
    "chat": ChatCompletionRequest,
    "completions": CompletionRequest,
    "tokenize": TokenizeCompletionRequest,
    "detokenize": DetokenizeRequest,
}


async def start_server(
    name: str,
    source: str,
    engine_kwargs: dict[str, Any],
    kind: str,
    max_loaded_adapters: int | None,
    adapter_folder: Callable[[str], Path],
) -> "AdapterServer":
    """A started server of the model at `source` (a folder or a hub id), in this process and one child of it.

    `adapter_folder` gives the folder of an adapter by the engine's id of it. `kind` is `cpu` or `gpu`. With
    `max_loaded_adapters` None it serves no adapters.
    """
    adapters = {"max_num_adapters_per_replica": max_loaded_adapters} if max_loaded_adapters else None
    config = LLMConfig(
        model_loading_config={"model_id": name, "model_source": source},
        engine_kwargs=engine_kwargs,
        accelerator_config={"kind": kind},
        lora_config=adapters,
        experimental_configs={"stream_batching_interval_ms": 0},
        callback_config={"callback_class": NoDownload if Path(source).is_dir() else CallbackBase},
        log_engine_metrics=True,
    )
    server: AdapterServer = AdapterServer.sync_init(config, engine_cls=OneChildEngine if kind == "cpu" else VLLMEngine)
    server.adapter_folder = adapter_folder
    await server.start()
    try:
        for setting, check in (("reasoning_parser", check_reasoning_parser), ("tool_call_parser", check_tool_parser)):
            if name_of_parser := engine_kwargs.get(setting):
                check(name_of_parser, server.tokenizer())
    except RuntimeError:
        server.stop()
        raise
    return server


def check_reasoning_parser(name: str, tokenizer: Any) -> None:
    """Raises RuntimeError where a parser cannot read what the model writes. vLLM itself only finds out with the first
    request, and fails that."""
    _check_parser("reasoning_parser", name, lambda: ReasoningParserManager.get_reasoning_parser(name)(tokenizer))


def check_tool_parser(name: str, tokenizer: Any) -> None:
    """Raises RuntimeError as `check_reasoning_parser`, for a parser of tool calls."""
    _check_parser("tool_call_parser", name, lambda: ToolParserManager.get_tool_parser(name)(tokenizer))


def _check_parser(setting: str, name: str, make: Callable[[], object]) -> None:
    try:
        make()
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise RuntimeError(f"`serving.{setting}` is {name}, which does not fit the model: {error}") from error


class AdapterServer(LLMServer):  # type: ignore[misc]
    """Loads an adapter on its first use; the id holds version and content, so that one id never means two weights."""

    adapter_folder: Callable[[str], Path]
    _held: Counter[str]
    """Adapters that Serve's multiplexing holds. What it lets go is still known to vLLM until it is unloaded there."""

    def _init_multiplex_loader(self, model_downloader_cls: Any = None) -> None:
        numbers = itertools.count(1)
        self._held = Counter()
        if self._llm_config.lora_config is None:
            super()._init_multiplex_loader(model_downloader_cls)
            return

        async def load_adapter(engine_id: str) -> DiskMultiplexConfig:
            """Registers it with vLLM too: Serve holds a lock here, so concurrent first uses load it once."""
            adapter = DiskMultiplexConfig(
                model_id=engine_id,
                max_total_tokens=None,
                local_path=str(await asyncio.to_thread(self.adapter_folder, engine_id)),
                lora_assigned_int_id=next(numbers),
            )
            await self.engine.resolve_lora(adapter)
            self._held[engine_id] += 1
            weakref.finalize(adapter, self._let_go, engine_id).atexit = False
            return adapter

        limit = self._llm_config.multiplex_config().max_num_models_per_replica
        self._load_model = serve.multiplexed(max_num_models_per_replica=limit)(load_adapter)

    def _let_go(self, engine_id: str) -> None:
        """Whoever asked for it a moment ago has found it by then: a request is an engine's after some steps only."""
        self._held[engine_id] -= 1
        asyncio.get_running_loop().call_later(UNLOAD_AFTER_S, self._unload, engine_id)

    def _unload(self, engine_id: str) -> None:
        """Frees the adapter's slot. What the engine computes with it already is ended with it."""
        if self._held[engine_id] > 0:
            return
        del self._held[engine_id]
        if request := self.engine._oai_models.lora_requests.pop(engine_id, None):
            removing = asyncio.ensure_future(self.engine._engine_client.remove_lora(request.lora_int_id))
            removing.add_done_callback(lambda task: task.exception())

    async def load(self, engine_id: str) -> None:
        """Have an adapter ready before it is asked for. Raises what its loading raised."""
        await self._load_model(engine_id)

    async def loaded(self) -> list[str]:
        """Adapters that the engine holds, by its ids of them."""
        if self._llm_config.lora_config is None:
            return []
        numbers = await self.engine._engine_client.list_loras()
        known = self.engine._oai_models.lora_requests
        return [name for name, request in known.items() if request.lora_int_id in numbers]

    async def _start_engine(self) -> None:
        """Ray's own starts one more process here, which imports vLLM (12 s, 400 MB) to record what is used.

        Ray looks for the tokenizer's service under the name that it had in earlier versions of vLLM.
        """
        await self.engine.start()
        self.engine._oai_serving_tokenization = self.engine._app_state.serving_tokenization

    def tokenizer(self) -> Any:
        """The served model's tokenizer."""
        return self.engine._engine_client.get_tokenizer()

    def chat_template(self) -> str:
        """The template that turns messages into a prompt; empty where the model has none."""
        tokenizer = self.tokenizer()
        return str(tokenizer.get_chat_template()) if tokenizer.chat_template else ""

    def num_unfinished(self) -> int:
        """Requests whose answer has not ended."""
        return int(self.engine._engine_client.output_processor.get_num_unfinished_requests())

    def stop(self) -> None:
        """Ends vLLM's child process. Ray's own shutdown leaves it to the operating system."""
        client = getattr(self.engine, "_engine_client", None)
        if client is not None:
            client.shutdown()


class OneChildEngine(VLLMEngine):  # type: ignore[misc]
    """vLLM's engine on a CPU with the model in the engine's process, where it is not split over several."""

    def _start_async_llm_engine(self, engine_args: Any, engine_config: Any, placement_group: Any) -> Any:
        if engine_config.parallel_config.world_size == 1:
            engine_config.parallel_config.distributed_executor_backend = "uni"
        return super()._start_async_llm_engine(engine_args, engine_config, placement_group)


class NoDownload(CallbackBase):  # type: ignore[misc]
    """Leaves out the task that would download a model: the model is a folder."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


def parse_engine_request(kind: str, body: dict[str, Any]) -> Any:
    """The request in vLLM's own type. Raises ValueError saying which field is wrong."""
    request = TokenizeChatRequest if kind == "tokenize" and "messages" in body else REQUESTS[kind]
    try:
        return request(**body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else str(first["msg"])) from error
    except VLLM_CLIENT_ERRORS as error:
        raise ValueError(str(error)) from error


def raw_request(headers: dict[str, str]) -> RawRequestInfo | None:
    """What the engine sees of a request's headers."""
    return RawRequestInfo(headers) if headers else None


def error_response(response: Any) -> tuple[int, dict[str, Any]] | None:
    """Status and body where the engine's response is an error; streamed responses come as lists."""
    first = response[0] if isinstance(response, list) and response else response
    if not isinstance(first, ErrorResponse):
        return None
    status, message = int(first.error.code), first.error.message
    if "--tool-call-parser" in message:
        return status, error_body(status, NO_TOOL_PARSER, "tools")
    return status, error_body(status, message, first.error.param)
