"""The project file: one `tandem.yaml` that says what to train, index, serve and measure.

project = load(Path("tandem.yaml"))
project.retrieval.top_k, project.storage, project.model
"""

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, Tag, ValidationError

from cluster.config import ClusterConfig, Name, Section
from cluster.errors import TandemError
from cluster.storage.storage import Storage, open_storage
from evaluation.arms import TRAINED
from evaluation.config import FORMER_NAMES as FORMER_ARMS
from evaluation.config import EvaluationConfig
from retrieval.config import RetrievalConfig
from retrieval.sources.config import FolderSource
from serving.config import ServingConfig
from tandem.console import print_note
from tandem.project.yaml_lines import Location, YamlFile, read_yaml
from training.config import FORMER_NAMES as FORMER_SETTINGS
from training.config import TrainingConfig

RESERVED_NAMES = ("adapters", "forgotten", "keys", "logs", "milvus")
MAX_PLAIN = 40
_KIND = re.compile(r"<\w+>")


class Settings(Section):
    """What may stand in a project file."""

    schema_version: Literal[1] = 1
    """The version of this file's format."""

    project: Name
    """The project's name; runs, the collection and the adapter are called after it. Default: the folder's name."""

    model: str = Field(min_length=1)
    """The base model: a hub id such as Qwen/Qwen3-0.6B, or a folder."""

    storage: str = "./runs"
    """Where runs, adapters and the local index are kept: a folder, relative to this file, or a bucket such as
    s3://bucket/prefix (gs://, az://); see docs/storage.md."""

    cluster: ClusterConfig = ClusterConfig()
    """Where Ray runs."""

    training: TrainingConfig = TrainingConfig()
    """What to fine-tune on, and how."""

    retrieval: RetrievalConfig = RetrievalConfig()
    """Which documents to search, and how."""

    serving: ServingConfig = ServingConfig()
    """The endpoint."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """The questions that decide."""


class Project:
    """A valid project file, with its paths resolved."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self.name = settings.project
        self.cluster, self.training, self.retrieval = settings.cluster, settings.training, settings.retrieval
        self.serving, self.evaluation = settings.serving, settings.evaluation

    @property
    def model(self) -> str:
        """The base model: an absolute folder where there is one beside the project file, else the hub id as written."""
        written = self.settings.model
        folder = self.path.parent / Path(written).expanduser()
        return str(folder.resolve()) if folder.is_dir() or written.startswith((".", "/", "~")) else written

    @cached_property
    def storage(self) -> Storage:
        """The storage folder, made where it is missing."""
        return open_storage(self.settings.storage, self.path.parent)

    @property
    def adapter(self) -> str:
        return self.training.adapter or self.name

    @property
    def collection(self) -> str:
        return self.retrieval.collection or self.name

    @property
    def tunes(self) -> bool:
        """Whether an arm is measured that has to be trained."""
        return any(arm in TRAINED for arm in self.evaluation.arms)

    @property
    def retrieves(self) -> bool:
        """Whether documents are indexed and searched."""
        return bool(self.retrieval.sources)

    def with_training(self, training: TrainingConfig) -> "Project":
        """The same project with other settings of the training."""
        return Project(self.path, self.settings.model_copy(update={"training": training}))

    def with_serving(self, serving: ServingConfig) -> "Project":
        """The same project with other settings of the endpoint."""
        return Project(self.path, self.settings.model_copy(update={"serving": serving}))

    def resolved(self) -> dict[str, Any]:
        """Every setting with its value, as a run's config.yaml holds it."""
        return self.settings.model_dump(mode="json")


def load(path: Path, unset_as_written: bool = False, on_note: Callable[[str], object] = print_note) -> Project:
    """Read and check a project file; with `unset_as_written` variables that only a cluster has stay as `${NAME}`.

    Args:
        on_note: gets a line for each name in the file that has changed since; the file is read all the same.

    Raises:
        TandemError: with the file, the line and, for a misspelt key, the nearest one that is known.
    """
    path = path.expanduser().absolute()
    file = read_yaml(path, unset_as_written)
    storage = file.values.get("storage", Settings.model_fields["storage"].default)
    values = {"project": _name_of(path.parent, storage), **file.values}
    try:
        settings = Settings.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        raise _explained(error, file) from None
    if settings.project in RESERVED_NAMES:
        raise TandemError(
            f"{path}:{file.line(('project',))}: the project is called {settings.project!r}.",
            f"Any name but {', '.join(RESERVED_NAMES)}, which are folders of the storage.",
            "Choose another `project`.",
        )
    for note in _former_names(file):
        on_note(note)
    kept = _storage_folder(path.parent, settings.storage)
    own = (path, kept) if kept else (path,)
    for source in settings.retrieval.sources:
        if isinstance(source, FolderSource):
            source.keep_apart(own)
    return Project(path, settings)


def _former_names(file: YamlFile) -> Iterator[str]:
    """A note for each arm and each setting that a valid file calls by a former name."""
    for number, arm in enumerate(file.values.get("evaluation", {}).get("arms", ())):
        if arm in FORMER_ARMS:
            where = f"{file.path}:{file.line(('evaluation', 'arms', number))}"
            today = FORMER_ARMS[arm]
            yield f"{where}: `evaluation.arms` names the arm `{arm}`; it is now called `{today}`. Change that line."
    for former, today in FORMER_SETTINGS.items():
        if former in file.values.get("training", {}):
            where = f"{file.path}:{file.line(('training', former))}"
            yield f"{where}: `training.{former}` is now called `training.{today}`. Change that line."


def _name_of(folder: Path, storage: object) -> str:
    """The folder's name in the letters of a name; where others are lost, a digest makes it differ from others."""
    lower = unicodedata.normalize("NFKC", folder.name.lower())
    letters = [each for each in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(each)]
    name = _in_name_letters("".join(letters))
    if lower and (not name or any(each.isalnum() and not each.isascii() for each in letters)):
        digest = hashlib.sha256(lower.encode(errors="backslashreplace")).hexdigest()[:8]
        name = f"{name[:MAX_PLAIN].strip('-') or 'project'}-{digest}"
    name = name or "project"
    former = _in_name_letters(folder.name.lower()) or "project"
    return former if name != former and _was_used(folder, storage, former, name) else name


def _storage_folder(folder: Path, storage: object) -> Path | None:
    """Where a project in `folder` keeps its things; None where that is a bucket."""
    return folder / Path(storage).expanduser() if isinstance(storage, str) and "://" not in storage else None


def _in_name_letters(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text).strip("-")[:63]


def _was_used(folder: Path, storage: object, former: str, name: str) -> bool:
    """Whether an earlier version kept something under the name that it made of the folder's."""
    root = _storage_folder(folder, storage)
    if root is None:
        return False
    return not (root / name).exists() and ((root / former).exists() or (root / f"forgotten/{former}.json").exists())


def _explained(error: ValidationError, file: YamlFile) -> TandemError:
    """The first problem in full, and how many more there are."""
    problems = error.errors(include_url=False)
    # A misspelt key explains why another one is missing.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    location: Location = first["loc"]
    written = _written(location)
    key = ".".join(str(part) for part in written)
    where = f"{file.path}:{file.line(written)}"
    more = f" ({len(problems) - 1} more after this one.)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        nearest = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        remedy = f"Did you mean {nearest[0]!r}?" if nearest else "Remove it."
        return TandemError(f"{where}: unknown key {key!r}.", f"Known here: {', '.join(known)}.", remedy + more)
    if first["type"] == "missing":
        return TandemError(f"{file.path}: {key!r} is missing.", _describe(location), f"Add a line `{key}: ...`.{more}")
    message = first["msg"].removeprefix("Value error, ")
    return TandemError(
        f"{where}: {key} is {_shown(first['input'])}: {message}.", _describe(location), f"Change that line.{more}"
    )


def _shown(value: Any) -> str:
    """The value in short, without the password that a URL in it may have."""
    text = re.sub(r"://[^\s'\"]*@", "://***@", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(location: Location) -> list[str]:
    section = _section_at(location)
    return sorted(section.model_fields) if section else []


def _describe(location: Location) -> str:
    """The description of the field at a location, which is its docstring."""
    for end in range(len(location), 0, -1):
        section = _section_at(location[: end - 1])
        field = section.model_fields.get(_current_key(section, str(location[end - 1]))) if section else None
        if field and field.description:
            return f"Accepted: {' '.join(field.description.split())}"
    return f"Accepted: {', '.join(sorted(Settings.model_fields))}."


def _written(location: Location) -> Location:
    """The location without the kinds of items, which pydantic puts in where there are several kinds."""
    return tuple(part for part in location if not _KIND.fullmatch(str(part)))


def _section_at(location: Location) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Settings
    several: Any = None
    for part in location:
        if section is None:
            section = _section_in(several, str(part))
        elif (field := section.model_fields.get(_current_key(section, str(part)))) is not None:
            section, several = _section_in(field.annotation), field.annotation
        # The number of an item in a list of sections, such as retrieval.sources.
        elif not isinstance(part, int):
            return None
    return section


def _current_key(section: type[BaseModel], key: str) -> str:
    """The name that a setting has today."""
    return FORMER_SETTINGS.get(key, key) if section is TrainingConfig else key


def _section_in(annotation: Any, kind: str = "") -> type[BaseModel] | None:
    """The section that a field holds, or holds several of; of several kinds the one with that tag."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    within = get_args(annotation)
    tags = [item.tag for item in within if isinstance(item, Tag)]
    if tags and tags != [kind]:
        return None
    return next(filter(None, (_section_in(item, kind) for item in within)), None)
