"""What every test shares: a quiet environment, no skip that nobody knows of, and a real browser."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# No test fails because the machine is busy.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

ALLOWED_SKIPS = ("needs a CUDA GPU", "needs the right to mount", "needs Chromium", "needs kubectl", "needs TANDEM_CRDS",
                 "needs mlflow-skinny", "needs wandb", "needs trackio", "needs lm_eval", "needs promptfoo",
                 "needs node")  # fmt: skip
_unknown_skips: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS):
            _unknown_skips.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI a skip is a failure, unless its reason is on the list above."""
    if os.environ.get("CI") and _unknown_skips and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for skip in _unknown_skips:
        terminalreporter.write_line(f"skip that is not on the list of tests/conftest.py: {skip}", red=True)


# What one process of tests runs by itself: what starts vLLM, which computes all the time, mostly in one application;
# and files that share the one Milvus server that there can be (its ports are fixed) and mostly wait. These begin first.
# Every other file is a group of its own.
GROUPS = {
    "vLLM": (
        "tests/serving/",
        "tests/tandem/pipeline/test_pipeline.py",
        "tests/k8s/test_run.py",
        "tests/tandem/pipeline/test_copy_of_a_base.py",
        "tests/tandem/pipeline/test_dpo.py",
        "tests/tandem/pipeline/test_models_that_think.py",
        "tests/tandem/pipeline/test_tool_calls.py",
        "tests/tandem/pipeline/test_learnt_ends.py",
        "tests/tandem/pipeline/test_objectives.py",
    ),
    "Milvus server": tuple(
        f"tests/retrieval/{name}.py"
        for name in (
            "index/test_bulk_import",
            "store/test_contract",
            "store/test_contract_settings",
            "store/test_leases",
            "store/test_milvus_server",
            "store/test_ownership",
            "store/test_server_goes_away",
            "store/test_tenants",
        )
    ),
}


# The tests that look at the application as it started come before those that break its engine: an error of vLLM's makes
# the gateway import vLLM, which closes Serve's log there.
FIRST = "tests/serving/gateway/test_endpoint.py"


def group_of(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return next((name for name, paths in GROUPS.items() if path.startswith(paths)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out whole groups. xdist's own --dist loadgroup writes to a field that pytest 9.2 does not have any more."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` skip with a reason where there is none; the question is asked only where such tests are."""
    order = list(GROUPS)
    items.sort(key=lambda item: (_place(item.nodeid, order), not item.nodeid.startswith(FIRST)))
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_tests:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium without a window: that of TANDEM_TEST_BROWSER, the machine's, or Playwright's own.

    Not for the whole session: Playwright holds an event loop in this thread, and beside it asyncio.run fails.
    """
    from playwright.sync_api import Error, sync_playwright

    named = os.environ.get("TANDEM_TEST_BROWSER")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("needs Chromium: install the package chromium, or run `playwright install chromium`")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            started = playwright.chromium.launch(executable_path=found, args=arguments)
        except Error as error:
            pytest.fail(f"{found or 'Chromium'} does not start: {error.message}")
        yield started
        started.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _place(nodeid: str, order: list[str]) -> int:
    """The place of a test's group; groups without a name come last."""
    name = group_of(nodeid)
    return order.index(name) if name in order else len(order)
