"""Ray's LLM server over vLLM, with what it lacks: adapters on a local disk. The only importer of either.

Read in Ray 2.60 and vLLM 0.29: Ray loads adapters from object stores only, imports vLLM once more in a task that
downloads nothing when the model is a folder, and asks for vLLM's multi-process executor on a CPU, where a process more
costs one more import of vLLM at the start and one more hop per token.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.common.errors import VLLM_CLIENT_ERRORS
from ray.llm._internal.common.errors import VLLM_FATAL_ERRORS as FATAL_ERRORS
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.core.configs.openai_api_models import ErrorResponse
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

from serving.errors import error_body

__all__ = ["FATAL_ERRORS", "AdapterServer", "as_error", "parse_request", "start_server"]
REQUESTS = {"chat": ChatCompletionRequest, "completions": CompletionRequest}


async def start_server(
    name: str,
    source: str,
    engine_kwargs: dict[str, Any],
    kind: str,
    max_loaded_adapters: int,
    adapter_folder: Callable[[str], Path],
) -> "AdapterServer":
    """A started server of the model at `source` (a folder or a hub id), in this process and one child of it.

    `adapter_folder` gives the folder of an adapter by the engine's id of it. `kind` is `cpu` or `gpu`.
    """
    config = LLMConfig(
        model_loading_config={"model_id": name, "model_source": source},
        engine_kwargs=engine_kwargs,
        accelerator_config={"kind": kind},
        lora_config={"max_num_adapters_per_replica": max_loaded_adapters},
        experimental_configs={"stream_batching_interval_ms": 0},
        callback_config={"callback_class": NoDownload if Path(source).is_dir() else CallbackBase},
        log_engine_metrics=False,
    )
    server: AdapterServer = AdapterServer.sync_init(config, engine_cls=OneChildEngine if kind == "cpu" else VLLMEngine)
    server.adapter_folder = adapter_folder
    await server.start()
    return server


class AdapterServer(LLMServer):  # type: ignore[misc]
    """Loads an adapter on its first use; the id holds version and content, so that one id never means two weights."""

    adapter_folder: Callable[[str], Path]

    def _init_multiplex_loader(self, model_downloader_cls: Any = None) -> None:
        numbers = itertools.count(1)

        async def load_adapter(engine_id: str) -> DiskMultiplexConfig:
            """Registers it with vLLM too: Serve holds a lock here, so concurrent first uses load it once."""
            adapter = DiskMultiplexConfig(
                model_id=engine_id,
                max_total_tokens=None,
                local_path=str(self.adapter_folder(engine_id)),
                lora_assigned_int_id=next(numbers),
            )
            await self.engine.resolve_lora(adapter)
            return adapter

        limit = self._llm_config.multiplex_config().max_num_models_per_replica
        self._load_model = serve.multiplexed(max_num_models_per_replica=limit)(load_adapter)

    async def _start_engine(self) -> None:
        """Ray's own starts one more process here, which imports vLLM (12 s, 400 MB) to record what is used."""
        await self.engine.start()

    def chat_template(self) -> str:
        """The template that turns messages into a prompt; empty where the model has none."""
        tokenizer = self.engine._engine_client.get_tokenizer()
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


def parse_request(kind: str, body: dict[str, Any]) -> Any:
    """The request in vLLM's own type. Raises ValueError saying which field is wrong."""
    try:
        return REQUESTS[kind](**body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else str(first["msg"])) from error
    except VLLM_CLIENT_ERRORS as error:
        raise ValueError(str(error)) from error


def as_error(response: Any) -> tuple[int, dict[str, Any]] | None:
    """Status and body where the engine's response is an error; streamed responses come as lists."""
    first = response[0] if isinstance(response, list) and response else response
    if not isinstance(first, ErrorResponse):
        return None
    status = int(first.error.code)
    return status, error_body(status, first.error.message, first.error.param)
