"""Which settings name files of this machine, and a project file that names them where they are on a cluster.

The packed project lies in a folder `project` of a job's working directory. What lies below the project file's folder
keeps its place; the rest goes to `project/elsewhere`, and its paths in the file are written anew. All else in the
file stays as it was written, comments and `${NAME}` too.
"""

import fnmatch
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import yaml

from cluster.jobs.job_archive import UserFile

FOLDER = "project"
PROJECT_FILE = f"{FOLDER}/tandem.yaml"
_PROPERTIES = re.compile(r"([&!]\S*\s+)+")
"""An anchor or a tag in front of a text, which stays there."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Kind(Enum):
    """What a setting with a path in it means."""

    FILE = "a file or folder, relative to the project file"
    DOCUMENTS = "the same, of which the documents are read; or a URL"
    MODEL = "a folder relative to the project file, or a hub id"
    MODEL_HERE = "a folder relative to where the command runs, or the name of a hub or a package"
    THERE = "a place on the nodes, never sent"


PATHS = {
    "model": Kind.MODEL,
    "storage": Kind.THERE,
    "serving.models.*": Kind.MODEL,
    "serving.copy_of.*": Kind.MODEL,
    "training.data": Kind.FILE,
    "training.data.path": Kind.FILE,
    "training.data.#": Kind.FILE,
    "training.data.#.path": Kind.FILE,
    "training.held_out_data": Kind.FILE,
    "training.held_out_data.path": Kind.FILE,
    "training.held_out_data.#": Kind.FILE,
    "training.held_out_data.#.path": Kind.FILE,
    "training.nvme_path": Kind.THERE,
    "retrieval.sources.#": Kind.DOCUMENTS,
    "retrieval.sources.#.path": Kind.DOCUMENTS,
    "retrieval.embedding_model": Kind.MODEL_HERE,
    "retrieval.embedding_tokenizer": Kind.MODEL_HERE,
    "retrieval.reranker": Kind.MODEL_HERE,
    "retrieval.milvus.ca_file": Kind.FILE,
    "retrieval.milvus.bulk_import": Kind.THERE,
    "evaluation.questions": Kind.FILE,
    "evaluation.general": Kind.FILE,
    "evaluation.corrections": Kind.FILE,
    "evaluation.judge.calibration": Kind.FILE,
}
"""Every setting that can name something on a disk; `#` is a number in a list, `*` any name."""

USED_BY = {
    "train": ("model", "training", "serving"),
    "index": ("retrieval",),
    "compare": ("model", "training", "serving", "retrieval", "evaluation"),
}
"""The sections that a verb reads files of."""


@dataclass(frozen=True)
class Scalar:
    """A text in a project file: the setting that it belongs to, and where it stands (characters from the start)."""

    location: str
    written: str
    start: int
    end: int


@dataclass(frozen=True)
class PackedProject:
    """A project file for a cluster, and what has to lie beside it there."""

    text: str
    wanted: tuple[UserFile, ...]
    stays: tuple[str, ...]
    """Absolute paths that it names and that are not sent: the nodes must have them."""

    variables: tuple[str, ...]
    """Names of the environment variables that it reads."""


def packed_project(
    path: Path, name: str, verb: str, documents: frozenset[str], shared: tuple[Path, ...] = ()
) -> PackedProject:
    """What `verb` needs of a project.

    Args:
        path: the project file, which is valid.
        name: the project's name, also where the file does not say it.
        documents: the suffixes of files that are indexed.
        shared: folders that the nodes have under the same path.
    """
    text = path.read_text(encoding="utf-8")
    packing = _Packing(path.absolute().parent, documents, shared)
    edits = [_named(text, name)]
    for scalar in scalars(text):
        kind = kind_of(scalar.location)
        if kind is not None and scalar.location.split(".")[0] in USED_BY[verb]:
            edits.append(packing.edit(scalar, kind))
    for start, end, new in sorted((edit for edit in edits if edit), reverse=True):
        text = text[:start] + new + text[end:]
    stays = tuple(sorted(packing.stays))
    return PackedProject(text, tuple(packing.wanted), stays, tuple(sorted(set(_VARIABLE.findall(text)))))


def kind_of(location: str) -> Kind | None:
    """What a setting names, where it names something on a disk."""
    generic = ".".join("#" if part.isdecimal() else part for part in location.split("."))
    return next((kind for pattern, kind in PATHS.items() if _matches(generic, pattern)), None)


def scalars(text: str) -> Iterator[Scalar]:
    """Every text in a YAML file, once where aliases name it again."""
    seen: set[int] = set()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for scalar in _scalars(node, "") if node else ():
        if scalar.start not in seen:
            seen.add(scalar.start)
            marked = _PROPERTIES.match(text, scalar.start)
            yield replace(scalar, start=marked.end() if marked else scalar.start)


class _Packing:
    """Finds a place on the cluster for each path of one project file."""

    def __init__(self, folder: Path, documents: frozenset[str], shared: tuple[Path, ...]) -> None:
        self.folder, self.documents = folder, documents
        self.shared = tuple(Path(folder).expanduser().absolute() for folder in shared)
        self.wanted: list[UserFile] = []
        self.stays: set[str] = set()
        numbers = ("", *(f"-{n}" for n in range(2, 100)))
        self.elsewhere = next(f"elsewhere{n}" for n in numbers if not (folder / f"elsewhere{n}").exists())

    def edit(self, scalar: Scalar, kind: Kind) -> tuple[int, int, str] | None:
        """What has to be written in place of a path, if anything; the path is taken down."""
        written = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), scalar.written)
        if kind is Kind.THERE or (kind is Kind.DOCUMENTS and "://" in written):
            return None
        path = self._on_disk(written, kind)
        if path is None:
            return None
        to = self._place(path)
        suffixes = self.documents if kind is Kind.DOCUMENTS else None
        self.wanted.append(UserFile(path, to, scalar.location, suffixes))
        new = to if kind is Kind.MODEL_HERE else os.path.relpath(to, FOLDER)
        if Path(scalar.written) == Path(new):
            return None
        return scalar.start, scalar.end, json.dumps(new, ensure_ascii=False)

    def _on_disk(self, written: str, kind: Kind) -> Path | None:
        """The file or folder that is to be sent; None for a name, and for what the nodes have."""
        path = Path(written).expanduser()
        whole = Path(os.path.normpath((Path.cwd() if kind is Kind.MODEL_HERE else self.folder) / path))
        is_shared = any(whole.is_relative_to(folder) for folder in self.shared)
        if is_shared or (path.is_absolute() and not written.startswith("~") and not whole.exists()):
            self.stays.add(str(whole))
            return None
        if kind in (Kind.MODEL, Kind.MODEL_HERE) and not whole.is_dir() and not written.startswith((".", "/", "~")):
            return None
        return whole

    def _place(self, path: Path) -> str:
        if path.is_relative_to(self.folder):
            return str(Path(FOLDER, path.relative_to(self.folder)))
        known = next((wanted.to for wanted in self.wanted if wanted.path == path), None)
        return known or f"{FOLDER}/{self.elsewhere}/{len(self.wanted) + 1}/{path.name}"


def _named(text: str, name: str) -> tuple[int, int, str] | None:
    """The name, for a file without `project`: it would be called after its folder, which has another name there."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "a valid project file"
    if any(key.value == "project" for key, _ in root.value):
        return None
    if root.flow_style:
        start = root.start_mark.index + 1
        return start, start, f"project: {name}, "
    return root.start_mark.index, root.start_mark.index, f"project: {name}\n"


def _scalars(node: yaml.Node, location: str) -> Iterator[Scalar]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, f"{location}.{key.value}".lstrip("."))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _scalars(value, f"{location}.{number}")
    elif node.tag == "tag:yaml.org,2002:str":
        yield Scalar(location, node.value, node.start_mark.index, node.end_mark.index)


def _matches(location: str, pattern: str) -> bool:
    parts, pattern_parts = location.split("."), pattern.split(".")
    return len(parts) == len(pattern_parts) and all(map(fnmatch.fnmatchcase, parts, pattern_parts))
