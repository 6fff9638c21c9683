import pytest

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.engine.engine_args import Hardware, check_engine_kwargs, engine_kwargs, known_engine_arguments

GPU = Hardware(num_gpus=8)


def test_everything_that_we_set_is_known() -> None:
    ours = set(engine_kwargs(ServingConfig(), GPU, None)) | set(engine_kwargs(ServingConfig(), Hardware(0, 2), None))
    assert ours <= known_engine_arguments()
    users = ("tensor_parallel_size", "pipeline_parallel_size", "quantization", "speculative_config",
             "enable_chunked_prefill", "enable_auto_tool_choice", "tool_call_parser")  # fmt: skip
    check_engine_kwargs(users)


def test_a_name_that_vllm_does_not_know_is_refused_with_those_like_it() -> None:
    with pytest.raises(TandemError, match="max_num_seqs"):
        check_engine_kwargs(["max_num_seq"])


@pytest.mark.slow
def test_the_names_are_those_of_vllms_own_classes() -> None:
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    fields = {field.name for kind in (AsyncEngineArgs, FrontendArgs) for field in dataclasses.fields(kind)}
    assert known_engine_arguments() == fields
