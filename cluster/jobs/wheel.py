"""Our code as a wheel for a cluster: made from what runs here, the same bytes for the same code.

Ray installs a wheel that `py_modules` names on every node of a job and puts it before all else on the path. It knows a
wheel by its file's name alone, so the version carries a digest of the content; and it installs what a wheel requires,
so this one requires nothing: the cluster's image carries the dependencies.
"""

import base64
import csv
import hashlib
import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("cluster", "evaluation", "retrieval", "serving", "tandem", "training")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive: the earliest that a zip can name."""


@dataclass(frozen=True)
class Wheel:
    """A built wheel."""

    version: str
    """Ours, and a digest of the code, as in 0.1.0+0a1b2c3d4e5f."""

    content: bytes

    @property
    def name(self) -> str:
        """The file's name."""
        return f"tandem-{self.version}-py3-none-any.whl"


def build_wheel(root: Path = Path(__file__).parents[2]) -> Wheel:
    """The packages below `root`, a checkout or the folder that they are installed in."""
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in _files(root)}
    version = f"{package_version()}+{_digest(files)[:12]}"
    info = f"tandem-{version}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: tandem\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tandem\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return Wheel(version, zipped(files))


def package_version() -> str:
    """Our version, without what a wheel has added to it."""
    try:
        return importlib.metadata.version("tandem").partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "0"


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip with these files by name; the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(member(name), content)
    return buffer.getvalue()


def member(name: str) -> zipfile.ZipInfo:
    """The entry of a compressed file that everybody may read, without a time or an owner."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return info


def _files(root: Path) -> list[Path]:
    paths = [path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file()]
    return sorted(path for path in paths if "__pycache__" not in path.parts)


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _record(files: dict[str, bytes], itself: str) -> bytes:
    """The list of files with their hashes (PEP 376), its own line without one."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name, content in files.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.writerow([name, f"sha256={hashed}", len(content)])
    rows.writerow([itself, "", ""])
    return text.getvalue().encode()
