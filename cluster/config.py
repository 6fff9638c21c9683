"""The `cluster:` section of the project file, and what every section is built from.

    class RetrievalConfig(Section):
        sources: list[LocalPath] = []
        '''Folders with documents.'''

The docstring under a field is its description: errors and the configuration reference show it.

The `cluster:` section of the project file.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

SCHEMA_VERSION = 1
NAME_PATTERN = re.compile(r"[a-z0-9_-]{1,63}")


class Section(BaseModel):
    """A frozen section that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


def _absolute(path: Path, info: ValidationInfo) -> Path:
    """Relative paths are relative to the project file's folder, passed as the validation context."""
    folder = (info.context or {}).get("folder")
    return (Path(folder) / path if folder else path).expanduser().absolute()


LocalPath = Annotated[Path, AfterValidator(_absolute)]


def _check_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name) or "--" in name:
        raise ValueError("a name has 1 to 63 of the characters a-z, 0-9, _ and -, without '--'")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class ClusterConfig(Section):
    """Where Ray runs."""

    address: str = "local"
    """`local` starts a Ray of our own here and stops it at the end; `auto` or `ray://...` joins a cluster. The URL of a
    cluster's dashboard, such as http://head:8265, is where `--submit` and `tandem jobs` go; jobs ignore the address and
    run on the cluster that they were submitted to."""

    num_cpus: int = Field(default=8, ge=4)
    """Logical CPUs that a local Ray offers. They are slots for actors, not cores: serving one model takes 5."""

    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Port on which a local Ray exports Prometheus metrics; a free one where it is not set."""
