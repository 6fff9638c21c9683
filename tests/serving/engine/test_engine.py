"""The reason that vLLM gives in its child's log only, and how many threads compute."""

import pytest

from serving.engine.engine import num_threads, root_cause

LOG = """
(EngineCore pid=7) ERROR 11-23 16:43:53 [core.py:1374]     raise RuntimeError(
(EngineCore pid=7) ERROR 11-23 16:43:53 [core.py:1374] RuntimeError: Cannot find any model weights with `/m`
(EngineCore pid=7)     raise RuntimeError(
(EngineCore pid=7) RuntimeError: Cannot find any model weights with `/m`
ValueError: not the child's
"""


def test_the_last_exception_of_the_child_is_the_reason() -> None:
    assert root_cause(LOG) == "RuntimeError: Cannot find any model weights with `/m`"
    assert root_cause("nothing of the kind\nValueError: of another process") is None
    assert root_cause("(EngineCore pid=7) torch.OutOfMemoryError: 2 GiB") == "torch.OutOfMemoryError: 2 GiB"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
def test_one_core_is_left_to_the_processes_around_the_engine(
    cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    assert num_threads() == threads
