"""What is refused before Ray starts anything."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.hardware import Hardware
from serving.config import ServingConfig
from serving.deploy.run import validate_serving
from tests.machines import gpu, node
from tests.ports import free_port


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 64}')
    (tmp_path / "model.safetensors").touch()
    return str(tmp_path)


def test_a_sound_configuration_passes(model: str) -> None:
    validate_serving(ServingConfig(port=free_port()), model)


def test_a_busy_port_is_named(model: str) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(TandemError, match=rf"Port {port} .* serving\.port"):
            validate_serving(ServingConfig(port=port), model)


def test_a_port_on_an_address_of_another_machine(model: str) -> None:
    with pytest.raises(TandemError, match=r"serving\.port"):
        validate_serving(ServingConfig(host="203.0.113.7", port=free_port()), model, has_keys=True)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"config\.json"):
        validate_serving(ServingConfig(port=free_port()), str(tmp_path))
    with pytest.raises(TandemError, match="does not exist"):
        validate_serving(ServingConfig(port=free_port(), models={"base": str(tmp_path / "no")}), str(tmp_path))


def test_contradicting_engine_kwargs(model: str) -> None:
    with pytest.raises(TandemError, match="max_num_seqs"):
        validate_serving(ServingConfig(port=free_port(), engine_kwargs={"max_num_seqs": 3}), model)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_without_keys_only_this_machine_is_let_in(model: str, host: str) -> None:
    with pytest.raises(TandemError, match="no API keys"):
        validate_serving(ServingConfig(host=host, port=free_port()), model)


def test_a_driver_that_is_too_old_is_refused_before_anything_starts(model: str) -> None:
    old = Hardware((replace(node(1), gpus=(replace(gpu(), driver="550.54.15"),)),))
    with pytest.raises(TandemError, match=r"driver is 550\.54\.15"):
        validate_serving(ServingConfig(port=free_port()), model, hardware=old)


def test_retrievers_on_gpus_count_before_anything_starts(model: str) -> None:
    spread = ServingConfig(port=free_port(), gpus_per_retriever=0.25, engine_kwargs={"tensor_parallel_size": 2})
    validate_serving(spread, model, hardware=Hardware((node(2),)))
    validate_serving(spread, model, hardware=Hardware((node(3),)), retrieves=True)
    with pytest.raises(TandemError, match="has 2 GPUs"):
        validate_serving(spread, model, hardware=Hardware((node(2),)), retrieves=True)
