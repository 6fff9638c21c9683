"""Compiled kernels that outlive a pod: what is taken, what is kept, and what must never be mixed."""

import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import compile_cache
from cluster.compile_cache import COPIED, CompileCache, cache_environment, cache_name, package_versions
from cluster.hardware import Gpu

H100, A100 = Gpu("NVIDIA H100 80GB HBM3", 1, (9, 0)), Gpu("NVIDIA A100-SXM4-80GB", 1, (8, 0))
VERSIONS = {"vllm": "0.29.0", "torch": "2.13.0"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test writes is whole at once."""
    monkeypatch.setattr(compile_cache, "QUIET_S", -1.0)


def pod(tmp_path: Path, name: str) -> CompileCache:
    """A pod's folder, and the archive that all pods share."""
    return CompileCache("h100", tmp_path / name, tmp_path / "shared")


def put(cache: CompileCache, **files: str) -> None:
    for name, text in files.items():
        path = cache.folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def held(cache: CompileCache) -> dict[str, str]:
    paths = [path for path in cache.folder.rglob("*") if path.is_file()]
    return {path.relative_to(cache.folder).as_posix(): path.read_text() for path in paths}


def test_every_kind_of_gpu_and_every_version_has_a_folder_of_its_own() -> None:
    names = [
        cache_name(gpus, versions)
        for gpus in ([H100], [A100], [H100, A100], [])
        for versions in (VERSIONS, VERSIONS | {"torch": "2.14.0"}, VERSIONS | {"triton": "3.7.1"}, {})
    ]
    assert len(set(names)) == len(names)
    assert cache_name([H100], VERSIONS).startswith("nvidia-h100-80gb-hbm3-9-0-vllm-0-29-0-")
    assert cache_name([H100, A100], VERSIONS) == cache_name([A100, H100, H100], dict(reversed(VERSIONS.items())))
    assert "torch" in package_versions()


def test_the_four_caches_lie_below_it_unless_they_are_set() -> None:
    folder = Path("/home/tandem/.cache/tandem/compiled/x")
    found = cache_environment(folder, {"TRITON_CACHE_DIR": "/mine"})
    assert found == {
        "VLLM_CACHE_ROOT": f"{folder}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "FLASHINFER_WORKSPACE_BASE": f"{folder}/flashinfer",
        COPIED: "TORCHINDUCTOR_CACHE_DIR,TRITON_CACHE_DIR,FLASHINFER_WORKSPACE_BASE",
    }


def test_names_that_a_user_copies_to_workers_stay() -> None:
    folder, ours = Path("/x"), "TORCHINDUCTOR_CACHE_DIR,TRITON_CACHE_DIR,FLASHINFER_WORKSPACE_BASE"
    once = cache_environment(folder, {COPIED: "AWS_PROFILE, MY_TOKEN,"})
    assert once[COPIED] == f"AWS_PROFILE,MY_TOKEN,{ours}"
    assert cache_environment(folder, once) == {COPIED: once[COPIED]}, "the second time changes nothing"


def test_what_one_pod_compiled_the_next_one_has(tmp_path: Path) -> None:
    first = pod(tmp_path, "first")
    first.take()
    put(first, vllm__a="1", triton__b__c="2")
    put(first, vllm__gpu_p2p_access_cache_for_0="of this machine", flashinfer__x="3")
    (first.folder / "flashinfer/x.lock").touch()
    assert first.keep() and not first.keep(), "nothing new, nothing is written"
    second = pod(tmp_path, "second")
    second.take()
    assert held(second) == {"vllm/a": "1", "triton/b/c": "2", "flashinfer/x": "3"}
    assert not second.keep()
    old = (first.folder / "vllm/a").stat().st_mtime_ns
    assert (second.folder / "vllm/a").stat().st_mtime_ns == old // 10**9 * 10**9, "never younger: ninja compares times"


def test_what_two_pods_add_at_once_is_not_lost(tmp_path: Path) -> None:
    pods = [pod(tmp_path, f"pod-{number}") for number in range(2)]
    for number, each in enumerate(pods):
        each.take()
        put(each, **{f"vllm__{number}": str(number)})
    assert [each.keep() for each in pods] == [True, True]
    last = pod(tmp_path, "last")
    last.take()
    assert held(last) == {"vllm/0": "0", "vllm/1": "1"}


def test_many_writers_and_readers_at_once_see_whole_archives(tmp_path: Path) -> None:
    def work(number: int) -> None:
        own = pod(tmp_path, f"pod-{number}")
        own.take()
        put(own, **{f"vllm__{number}": "x" * 100_000})
        own.keep()
        with tarfile.open(tmp_path / "shared" / "h100.tar") as archive:
            assert all(len(archive.extractfile(each).read()) == 100_000 for each in archive)  # type: ignore[union-attr]

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(16)))
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["h100.tar"]


def test_what_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    first, second = pod(tmp_path, "first"), pod(tmp_path, "second")
    first.take()
    put(first, vllm__a="shared")
    first.keep()
    put(second, vllm__a="own")
    second.take()
    assert held(second) == {"vllm/a": "own"}


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 5000])
def test_an_archive_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "h100.tar").write_bytes(content)
    own = pod(tmp_path, "own")
    own.take()
    assert held(own) == {}
    put(own, vllm__a="1")
    assert own.keep(), "and is replaced"
    other = pod(tmp_path, "other")
    other.take()
    assert held(other) == {"vllm/a": "1"}


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "evil").write_text("outside")
    with tarfile.open(tmp_path / "shared" / "h100.tar", "w") as archive:
        archive.add(tmp_path / "evil", "../../../outside")
    own = pod(tmp_path, "own")
    own.take()
    assert held(own) == {} and not list(tmp_path.rglob("outside"))


def test_what_may_not_be_whole_is_kept_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = pod(tmp_path, "own")
    own.take()
    put(own, vllm__a="1", vllm__b="half of it")
    os.utime(own.folder / "vllm/a", (0, 0))
    monkeypatch.setattr(compile_cache, "QUIET_S", 10.0)
    assert own.keep()
    with tarfile.open(tmp_path / "shared" / "h100.tar") as archive:
        assert archive.getnames() == ["vllm/a"]
    os.utime(own.folder / "vllm/b", (0, 0))
    assert own.keep()


def test_an_archive_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = pod(tmp_path, "own")
    own.take()
    put(own, vllm__a="12345")
    monkeypatch.setattr(compile_cache, "MAX_BYTES", 4)
    assert not own.keep() and not (tmp_path / "shared" / "h100.tar").exists()


def test_a_place_that_cannot_be_written_costs_no_engine(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file")
    own = pod(tmp_path, "own")
    own.take()
    put(own, vllm__a="1")
    assert not own.keep()


def test_without_a_place_that_outlives_it_the_folder_is_all_there_is(tmp_path: Path) -> None:
    own = CompileCache("h100", tmp_path, None)
    own.take()
    put(own, vllm__a="1")
    assert own.folder == tmp_path / "compiled" / "h100" and not own.keep()


def test_where_it_lies_is_set_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("TANDEM_COMPILED", "TANDEM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert CompileCache.of([H100]).folder == tmp_path / "tandem/compiled" / cache_name([H100], package_versions())


NINJA = """
rule compile
  command = cc -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = cc -shared $in -o $out
build {folder}/kernel.o: compile {source}
build {folder}/kernel.so: link {folder}/kernel.o
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_what_ninja_built_is_not_built_again_by_the_next_pod(tmp_path: Path) -> None:
    """FlashInfer's way: each engine calls ninja, which compares times by the nanosecond."""
    source = tmp_path / "kernel.c"
    source.write_text("int kernel(void) { return 1; }\n")
    os.utime(source, (0, 0))  # of a package that was installed long before
    pod_folder = tmp_path / "pod"

    def build() -> str:
        folder = pod(tmp_path, "pod").folder / "flashinfer" / "cached_ops"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.ninja").write_text(NINJA.format(folder=folder, source=source))
        ninja = [str(Path(sys.executable).with_name("ninja")), "-C", str(folder)]
        return subprocess.run(ninja, capture_output=True, text=True, check=True, timeout=60).stdout

    first = pod(tmp_path, "pod")
    first.take()
    assert "no work to do" not in build() and "no work to do" in build()
    assert first.keep()
    shutil.rmtree(pod_folder)
    pod(tmp_path, "pod").take()
    assert "no work to do" in build()
