"""The installed versions have what we use of our vendors beyond what they promise; a version bump fails here."""

import re

import pytest

from tests.requirements.vendor_names import (
    GPU_ONLY,
    NAMES,
    OF_NO_PYTHON_SOURCE,
    VARIABLES,
    is_installed,
    missing,
    source_of,
    uses,
    variables,
)

OURS = {"_exit", "_run_exitfuncs"}
"""Private names of Python itself."""


@pytest.mark.parametrize("file", NAMES)
def test_the_installed_version_has_the_names(file: str) -> None:
    if not is_installed(file):
        assert file.split("/")[0] in GPU_ONLY, f"{file}: the package is not installed"
        pytest.skip("needs a CUDA GPU's packages")
    assert source_of(file).is_file(), f"{file} is not in the installed version"
    assert [lost for named in NAMES[file] if (lost := missing(file, named))] == []


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_installed_version_reads_the_variable(variable: str) -> None:
    file = VARIABLES[variable]
    if not is_installed(file):
        assert file.split("/")[0] in GPU_ONLY, f"{file}: the package is not installed"
        pytest.skip("needs a CUDA GPU's packages")
    assert re.search(rf"\b{variable}\b", source_of(file).read_text(encoding="utf-8"))


def test_every_private_name_that_our_code_uses_is_listed() -> None:
    listed = {part for names in NAMES.values() for named in names for part in re.findall(r"\w+", named)} | OURS
    assert [f"{use.path}:{use.line} {use.name}" for use in uses() if use.name not in listed] == []


def test_every_variable_that_our_code_sets_is_listed() -> None:
    unlisted = {name: path for name, path in variables().items() if name not in {*VARIABLES, *OF_NO_PYTHON_SOURCE}}
    assert unlisted == {}


def test_what_is_not_there_is_found_missing() -> None:
    file = "torch/nn/attention/varlen.py"
    assert missing(file, "varlen_attn(query)") is None
    assert missing(file, "varlen_attention(query)") == "varlen_attention of varlen_attention"
    assert missing(file, "varlen_attn(query, dropout)") == "the parameters dropout of varlen_attn"
