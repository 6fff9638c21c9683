"""Which tests need a GPU; read without importing anything."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def gpu_test_files() -> list[str]:
    """Files with a test that is marked `gpu`: a machine with few packages cannot collect all tests."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [path.relative_to(ROOT).as_posix() for path in files if "\n@pytest.mark.gpu\n" in path.read_text()]
