"""What `nvidia-smi` prints about the GPUs of this machine, as rows of text; `cluster.hardware` makes values of them."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from cluster.errors import TandemError

SMI_S = 30.0
_QUERY = (
    "name,memory.total,memory.used,driver_version,compute_cap,ecc.errors.uncorrected.volatile.total,"
    "uuid,mig.mode.current"
)
_OLD_QUERY = "name,memory.total,memory.used,driver_version"
"""What drivers knew before R510, which has no word for the compute capability."""

_NUM_FIELDS = {len(_QUERY.split(",")), len(_OLD_QUERY.split(","))}
_NO_VALUE = re.compile(r"|N/A|\[.*\]|(GPU is|GPU requires|Unknown|Not Supported).*")
_SHARED = {"N/A", "Not Supported"}
"""What is printed for the memory of a GPU that has none of its own, as GB10."""
_BROKEN = ("gpu is lost", "gpu requires")
"""The beginnings of what NVML says of a GPU that does nothing until it is reset (nvmlErrorString)."""
_NO_DEVICES = re.compile(r"no devices (were )?found", re.IGNORECASE)
_XML = re.compile(r"<nvidia_smi_log>.*</nvidia_smi_log>", re.DOTALL)
_REMEDY = "Load or install the driver again. To work on the CPUs instead, set CUDA_VISIBLE_DEVICES to nothing."
_MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One GPU; what the driver does not know is empty or a word such as `[N/A]`."""

    name: str
    memory: str
    """In MiB, as `used`."""
    used: str
    driver: str
    capability: str = ""
    num_errors: str = ""
    uuid: str = ""
    mig_mode: str = ""

    @property
    def shares_memory(self) -> bool:
        """Whether the GPU has no memory of its own to report."""
        return self.memory.strip("[]") in _SHARED

    @property
    def loss(self) -> str:
        """What the driver says of a GPU that must be reset; empty for others."""
        words = (text.strip("[]") for text in (self.memory, self.used, self.num_errors, self.mig_mode))
        return next((word for word in words if word.lower().startswith(_BROKEN)), "")

    @property
    def fault(self) -> str:
        """What the driver says of a GPU that must be reset or whose memory it cannot read; else empty."""
        is_read = self.memory.isdecimal() or self.shares_memory
        return self.loss or ("" if is_read else self.memory.strip("[]") or "nothing")


@dataclass(frozen=True)
class Answer:
    """What the driver says of all GPUs."""

    rows: tuple[Row, ...] = ()
    remarks: tuple[str, ...] = ()
    """Lines that describe no GPU, such as a warning of a damaged infoROM."""
    instances: Mapping[str, list[tuple[int, int]]] = field(default_factory=dict)
    """What `parse_instances` returns; empty where no GPU is divided."""


def ask_driver() -> Answer:
    """The GPUs that the driver lists; none where there is no driver.

    Raises:
        TandemError: `nvidia-smi` fails, does not answer, or does not list the instances of a divided GPU.
    """
    if shutil.which("nvidia-smi") is None:
        return Answer()
    done = _run(f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits")
    if done.returncode and "not a valid field" in done.stdout + done.stderr:
        done = _run(f"--query-gpu={_OLD_QUERY}", "--format=csv,noheader,nounits")
    rows, remarks = parse_rows(f"{done.stdout}\n{done.stderr}")
    if not rows:
        others = [line for line in remarks if not _NO_DEVICES.search(line)]
        # A GPU that is lost may be the only one: then there is more to read than that there are no devices.
        if len(others) < len(remarks) and not any("gpu" in line.lower() for line in others):
            return Answer()
        if done.returncode or others:
            raise _unread(f"nvidia-smi says {' '.join(remarks)!r} and ends with exit code {done.returncode}")
    elif done.returncode and not remarks:
        remarks = (f"it ended with exit code {done.returncode}",)
    is_divided = any(row.mig_mode == "Enabled" for row in rows)
    return Answer(rows, remarks, _read_instances() if is_divided else {})


def parse_rows(text: str) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The rows among the lines that `nvidia-smi` prints for `_QUERY` or its beginning, and all other lines."""
    rows, others = [], []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        parts = [part.strip() for part in line.split(",")]
        is_row = len(parts) in _NUM_FIELDS and (parts[1].isdecimal() or _NO_VALUE.fullmatch(parts[1]))
        rows.extend([Row(*parts)] if is_row else [])
        others.extend([] if is_row else [line])
    return tuple(rows), tuple(dict.fromkeys(others))


def parse_instances(text: str) -> dict[str, list[tuple[int, int]]]:
    """Bytes in all and bytes used of each instance (MIG), by the UUID of its GPU, as `nvidia-smi -q -x` lists them.

    Raises:
        ElementTree.ParseError: it is no XML.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    log = _XML.search(text)  # a warning may come before or after it
    for gpu in ElementTree.fromstring(log[0] if log else text).iter("gpu"):
        for instance in gpu.iter("mig_device"):
            amounts = (instance.findtext(f"fb_memory_usage/{part}", "").split() for part in ("total", "used"))
            total, used = (int(words[0]) * _MIB if words and words[0].isdecimal() else 0 for words in amounts)
            found.setdefault(gpu.findtext("uuid", ""), []).append((total, used))
    return found


def _read_instances() -> dict[str, list[tuple[int, int]]]:
    done = _run("-q", "-x")
    try:
        return parse_instances(done.stdout)
    except ElementTree.ParseError as error:
        said = " ".join((done.stdout + done.stderr).split())
        raise _unread(
            f"a GPU is divided into instances, and `nvidia-smi -q -x` does not list them: it says {said[:300]!r} and "
            f"ends with exit code {done.returncode}"
        ) from error


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, errors="replace", timeout=SMI_S
        )
    except subprocess.TimeoutExpired as error:
        raise _unread(f"nvidia-smi did not answer within {SMI_S:g} seconds") from error
    except OSError as error:
        raise _unread(f"nvidia-smi does not start ({error})") from error


def _unread(why: str) -> TandemError:
    return TandemError(f"The GPUs cannot be read: {why}.", "An NVIDIA driver that answers, or none.", _REMEDY)
