"""The adapter registry: immutable versions, and aliases that point at them.

    <adapters>/<name>/v<N>/                 weights, trained.jsonl, parity.jsonl, manifest.json (last)
    <adapters>/<name>/aliases/<alias>.json  {"version": N}, or {"split": {"N": 90, "M": 10}}; "before": those until now
    <adapters>/<name>/checks/v<N>.json      whether it is served as it was trained
    <adapters>/<name>/checks/v<N>-gates.json  whether it is as good as what was live, and why it went live if it is not

A folder without manifest.json is no version: a publisher that dies half-way leaves nothing that anyone could load.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cluster.digests import digest_folder
from cluster.errors import TandemError
from cluster.gates import GateCheck, pass_gates, read_gates, write_gates
from cluster.provenance import git_commit, versions
from cluster.schema import NAME_PATTERN, SCHEMA_VERSION
from cluster.storage import write_atomically, write_once


class UnknownAdapter(TandemError):
    """No such adapter, version or alias in the registry."""


class AdapterManifest(BaseModel):
    """What a version was made from and with; enough to refuse it where it does not fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    name: str
    version: int
    base_model: str
    base_digest: str
    content_digest: str
    method: str
    kind: Literal["adapter", "merged"] = "adapter"
    """`merged`: a whole model in place of an adapter; it is served as a base of its own."""

    rank: int
    template_hash: str
    prompt_hash: str | None
    data_digest: str
    fingerprint: str
    created: str
    git_commit: str | None
    versions: dict[str, str]
    metrics: dict[str, float]


class ParityCheck(BaseModel):
    """How far the log-probabilities of a served version are from the trainer's, in nats per answer token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_rows: int
    num_tokens: int
    mean_difference: float
    max_difference: float
    tolerance: float
    """The largest mean difference that lets a version go live."""

    checked: str
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        return self.mean_difference <= self.tolerance


@dataclass(frozen=True)
class AdapterVersion:
    """One published version: its folder and its manifest."""

    path: Path
    manifest: AdapterManifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def engine_id(self) -> str:
        """The name that the engine knows it by: version and content, since vLLM's prefix cache is keyed by the name."""
        return f"{self.name}.v{self.version}.{self.manifest.content_digest[:12]}"


@dataclass(frozen=True)
class Registry:
    """The adapters below one folder."""

    root: Path

    def publish(self, name: str, staging: Path, promote: bool = True, **fields: Any) -> AdapterVersion:
        """Publish the files in `staging` as the next version of `name`.

        `fields` are the manifest's, less what is known here. With `promote` the alias `live` moves to the new version.
        Two publishers never get one number: the number is taken by making the folder.
        """
        _check_name(name)
        version = self._take_number(name)
        path = self.root / name / f"v{version}"
        shutil.copytree(staging, path, dirs_exist_ok=True)
        manifest = AdapterManifest(
            name=name,
            version=version,
            content_digest=digest_folder(path),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            git_commit=git_commit(),
            versions=versions(),
            **fields,
        )
        written = write_once(path / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
        assert written, "the number was ours alone"
        if promote:
            self.promote(name, version)
        return AdapterVersion(path, manifest)

    def get(self, name: str, version: int) -> AdapterVersion:
        """One version by its number.

        Raises:
            UnknownAdapter: there is no such version.
        """
        path = self.root / name / f"v{version}"
        if not NAME_PATTERN.fullmatch(name) or not (path / "manifest.json").is_file():
            raise UnknownAdapter(
                f"There is no adapter {name}@{version}.", self._known(name), "Train one with `tandem train`."
            )
        return AdapterVersion(path, AdapterManifest.model_validate_json((path / "manifest.json").read_text()))

    def resolve(self, name: str, selector: str = "live", caller: str | None = None) -> AdapterVersion:
        """The version that an alias (`live`) or a number (`7`) names.

        Args:
            caller: who asks. Of an alias that is split, the same caller gets the same version for as long as the shares
                stay; without a caller it is the version with the largest share.

        Raises:
            UnknownAdapter: there is no such adapter, alias or version.
        """
        if selector.isdecimal() and selector.isascii():
            return self.get(name, int(selector))
        alias = self._alias(name, selector)
        if not NAME_PATTERN.fullmatch(name) or not NAME_PATTERN.fullmatch(selector) or not alias.is_file():
            raise UnknownAdapter(
                f"There is no adapter {name!r} with the alias {selector!r}.",
                self._known(name),
                "Train one with `tandem train`, or name another.",
            )
        shares = _shares(json.loads(alias.read_text()))
        return self.get(name, _largest(shares) if caller is None else _share_of(name, caller, shares))

    def shares(self, name: str, alias: str = "live") -> dict[int, int]:
        """The versions that an alias names, with their shares of the callers; empty where there is no such alias."""
        try:
            return _shares(json.loads(self._alias(name, alias).read_text()))
        except FileNotFoundError:
            return {}

    def promote(self, name: str, version: int, alias: str = "live", *, despite: str | None = None) -> None:
        """Point an alias at a version; readers see the old one or the new one.

        Args:
            despite: why it goes live although a gate failed; kept in the version's record of its gates.

        Raises:
            TandemError: there is no such version, or its parity check or one of its gates failed. What the alias named
                before is never refused.
        """
        self._check_servable(name, version, alias, despite)
        self._write_alias(name, alias, {"version": version})

    def split(self, name: str, shares: dict[int, int], alias: str = "live", *, despite: str | None = None) -> None:
        """Share the callers of an alias out over versions, in parts such as `{7: 90, 8: 10}`.

        Raises:
            TandemError: the shares are no positive numbers, or one of the versions is refused by `promote`.
        """
        if not shares or min(shares.values()) < 1:
            raise TandemError(
                f"The split of {name} is {shares}.", "A positive number for each version: 7=90 8=10.", "Correct it."
            )
        for version in shares:
            self._check_servable(name, version, alias, despite)
        self._write_alias(name, alias, {"split": {str(version): share for version, share in shares.items()}})

    def before(self, name: str, alias: str = "live") -> set[int]:
        """The versions that an alias names or has named."""
        path = self._alias(name, alias)
        value = json.loads(path.read_text()) if path.is_file() else {}
        return {*value.get("before", []), *(_shares(value) if value else ())}

    def _write_alias(self, name: str, alias: str, value: dict[str, Any]) -> None:
        before = sorted(self.before(name, alias) - set(_shares(value)))
        content = value | ({"before": before} if before else {})
        write_atomically(self._alias(name, alias), json.dumps(content) + "\n")

    def _check_servable(self, name: str, version: int, alias: str, despite: str | None) -> None:
        self.get(name, version)
        if version in self.before(name, alias):
            return
        check = self.check_of(name, version)
        if check and not check.passed:
            raise TandemError(
                f"{name}@{version} is not served as it was trained: log-probabilities differ by "
                f"{check.mean_difference:.3f} nats per token on average.",
                f"At most {check.tolerance:g} (`training.parity_tolerance`).",
                f"Correct what serves it (`dtype`, engine_kwargs) and run `tandem adapters check {name}@{version}`.",
            )
        pass_gates(self._gates(name, version), f"{name}@{version}", despite)

    def record_gates(
        self, name: str, version: int, gates: Iterable[Mapping[str, Any]], run: str | None = None
    ) -> GateCheck:
        """Keep how a version did at its gates (`name`, `passed` and `seen` each), in the place of an earlier record.

        Args:
            run: the comparison that measured them.

        Raises:
            UnknownAdapter: there is no such version.
        """
        self.get(name, version)
        return write_gates(self._gates(name, version), gates, run)

    def gates_of(self, name: str, version: int) -> GateCheck | None:
        """How a version did at its gates; None where they were never measured."""
        return read_gates(self._gates(name, version))

    def record_check(self, name: str, version: int, **fields: Any) -> ParityCheck:
        """Keep what a parity check found, in the place of an earlier one's; `fields` are those of `ParityCheck`."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        check = ParityCheck(checked=now, versions=versions(), **fields)
        write_atomically(self._check(name, version), check.model_dump_json(indent=2) + "\n")
        return check

    def check_of(self, name: str, version: int) -> ParityCheck | None:
        """What the last parity check of a version found; None where it was never checked."""
        path = self._check(name, version)
        return ParityCheck.model_validate_json(path.read_text()) if path.is_file() else None

    def find(self, name: str, fingerprint: str) -> AdapterVersion | None:
        """The newest version that was made from exactly these inputs, if there is one."""
        matching = [found for found in self.versions(name) if found.manifest.fingerprint == fingerprint]
        return matching[-1] if matching else None

    def names(self) -> list[str]:
        """Every adapter that has a version."""
        folders = self.root.iterdir() if self.root.is_dir() else []
        return sorted(folder.name for folder in folders if self.versions(folder.name))

    def versions(self, name: str) -> list[AdapterVersion]:
        """The published versions of an adapter, oldest first."""
        manifests = (self.root / name).glob("v*/manifest.json")
        return [self.get(name, number) for number in sorted(int(path.parent.name[1:]) for path in manifests)]

    def _check(self, name: str, version: int) -> Path:
        return self.root / name / "checks" / f"v{version}.json"

    def _gates(self, name: str, version: int) -> Path:
        return self.root / name / "checks" / f"v{version}-gates.json"

    def _alias(self, name: str, alias: str) -> Path:
        return self.root / name / "aliases" / f"{alias}.json"

    def _take_number(self, name: str) -> int:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        version = 1 + max((int(path.name[1:]) for path in folder.glob("v*") if path.name[1:].isdecimal()), default=0)
        while True:
            try:
                (folder / f"v{version}").mkdir()
            except FileExistsError:
                version += 1
            else:
                return version

    def _known(self, name: str) -> str:
        numbers = ", ".join(str(found.version) for found in self.versions(name)) if NAME_PATTERN.fullmatch(name) else ""
        if numbers:
            return f"Versions of {name}: {numbers}."
        return f"Known adapters: {', '.join(self.names()) or 'none yet'}."


def _shares(alias: dict[str, Any]) -> dict[int, int]:
    split: dict[str, int] = alias.get("split") or {str(alias["version"]): 1}
    return {int(version): share for version, share in sorted(split.items(), key=lambda item: int(item[0]))}


def percent(shares: dict[int, int], version: int) -> float:
    """A version's part of an alias' callers."""
    return round(100 * shares.get(version, 0) / sum(shares.values()), 1) if shares else 0.0


def _largest(shares: dict[int, int]) -> int:
    return max(shares, key=lambda version: (shares[version], -version))


def _share_of(name: str, caller: str, shares: dict[int, int]) -> int:
    """The version whose part of the line a caller's place lies in. A share that grows keeps the callers it has where
    there are two versions."""
    digest = hashlib.sha256(f"{name}\0{caller}".encode(errors="surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for version, share in shares.items():
        place -= share
        if place < 0:
            return version
    return version


def _check_name(name: str) -> None:
    if not NAME_PATTERN.fullmatch(name) or "--" in name:
        raise TandemError(
            f"The adapter name {name!r} cannot be used.",
            "Up to 63 of the characters a-z, 0-9, _ and -, without '--'.",
            "Set `training.adapter` in the project file.",
        )
