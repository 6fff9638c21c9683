"""The adapter registry: immutable versions, and aliases that point at them, in a folder or in a bucket.

    <adapters>/<name>/v<N>/                 weights, trained.jsonl, parity.jsonl, manifest.json (last)
    <adapters>/<name>/numbers/v<N>.json     in a bucket only: who took the number, before any file is sent
    <adapters>/<name>/aliases/<alias>.json  {"version": N}, or {"split": {"N": 90, "M": 10}}; "before": those until now
    <adapters>/<name>/checks/v<N>.json      whether it is served as it was trained
    <adapters>/<name>/checks/v<N>-on-<digest>.json  the same on a copy of its base in other numbers (FP8, AWQ)
    <adapters>/<name>/checks/v<N>-gates.json  whether it is as good as what was live, and why it went live if it is not

What has no manifest.json is no version: a publisher that dies half-way leaves nothing that anyone could load, and its
number is never given again. Aliases and checks are changed by compare-and-swap.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config import NAME_PATTERN
from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_folder
from cluster.fingerprints.provenance import git_commit, package_versions
from cluster.registry.gate_records import GateCheck, pass_gates, read_gates, write_gates
from cluster.registry.transfer import MANIFEST, keep_version, send_files
from cluster.registry.versions import AdapterManifest, AdapterVersion, CopyCheck, ParityCheck, UnknownAdapter
from cluster.storage.objects import Folder, Place, SharedRecord

__all__ = [
    "AdapterManifest",
    "AdapterVersion",
    "CopyCheck",
    "ParityCheck",
    "Registry",
    "UnknownAdapter",
    "share_percent",
]

if TYPE_CHECKING:
    from cluster.storage.buckets import Bucket
    from cluster.storage.storage import Storage


@dataclass(frozen=True)
class Registry:
    """The adapters below one folder; or those of a bucket, of which the folder keeps the versions that were used."""

    root: Path
    bucket: "Bucket | None" = None

    @classmethod
    def of(cls, storage: "Storage") -> "Registry":
        """The registry of a project's storage."""
        return cls(storage.adapters, storage.bucket.at("adapters") if storage.bucket else None)

    @property
    def place(self) -> Place:
        return self.bucket or Folder(self.root)

    def publish(self, name: str, staging: Path, promote: bool = True, **fields: Any) -> AdapterVersion:
        """Publish the files in `staging` as the next version of `name`.

        `fields` are the manifest's, less what is known here. With `promote` the alias `live` moves to the new version.
        Two publishers never get one number: it is taken by making the folder, or in a bucket by a conditional put.

        Raises:
            TandemError: the name cannot be used, or the bucket does not take it; nothing is to be seen of it then.
        """
        _check_name(name)
        version = self._take_number(name)
        path = self.root / name / f"v{version}"
        if self.bucket:
            send_files(self.bucket, staging, f"{name}/v{version}")
        else:
            _copy_whole(staging, path)
        manifest = AdapterManifest(
            name=name,
            version=version,
            content_digest=digest_folder(staging if self.bucket else path),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            git_commit=git_commit(),
            versions=package_versions(),
            **fields,
        )
        content = (manifest.model_dump_json(indent=2) + "\n").encode()
        written = self.place.create(f"{name}/v{version}/{MANIFEST}", content)
        assert written, "the number was ours alone"
        if self.bucket:
            keep_version(staging, content, path)
        if promote:
            self.promote(name, version)
        return AdapterVersion(path, manifest, self.bucket)

    def get(self, name: str, version: int) -> AdapterVersion:
        """One version by its number.

        Raises:
            UnknownAdapter: there is no such version.
        """
        path = self.root / name / f"v{version}"
        manifest = self._record(name, f"v{version}", MANIFEST).read() if NAME_PATTERN.fullmatch(name) else None
        if manifest is None:
            raise UnknownAdapter(
                f"There is no adapter {name}@{version}.", self._known(name), "Train one with `tandem train`."
            )
        return AdapterVersion(path, AdapterManifest.model_validate_json(manifest), self.bucket)

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
        known = NAME_PATTERN.fullmatch(name) and NAME_PATTERN.fullmatch(selector)
        alias = self._alias(name, selector).read() if known else None
        if alias is None:
            raise UnknownAdapter(
                f"There is no adapter {name!r} with the alias {selector!r}.",
                self._known(name),
                "Train one with `tandem train`, or name another.",
            )
        shares = _shares(json.loads(alias))
        return self.get(name, _largest(shares) if caller is None else _share_of(name, caller, shares))

    def shares(self, name: str, alias: str = "live") -> dict[int, int]:
        """The versions that an alias names, with their shares of the callers; empty where there is no such alias."""
        alias_values = self._alias(name, alias).read()
        return _shares(json.loads(alias_values)) if alias_values else {}

    def promote(self, name: str, version: int, alias: str = "live", *, despite: str | None = None) -> None:
        """Point an alias at a version; readers see the old one or the new one.

        Args:
            despite: why it goes live although a gate failed; kept in the version's record of its gates.

        Raises:
            TandemError: there is no such version, or its parity check or one of its gates failed. What the alias named
                before is never refused.
        """
        self._check_servable(name, version, alias, despite)
        self.write_alias(name, alias, {"version": version})

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
        self.write_alias(name, alias, {"split": {str(version): share for version, share in shares.items()}})

    def before(self, name: str, alias: str = "live") -> set[int]:
        """The versions that an alias names or has named."""
        return _before(self._alias(name, alias).read())

    def write_alias(self, name: str, alias: str, value: dict[str, Any], before: Iterable[int] = ()) -> bool:
        """Point an alias somewhere without asking whether it may; whether it did not point there already.

        Args:
            before: versions that it has named elsewhere.
        """

        def moved(there: bytes | None) -> bytes:
            names = value | {"before": sorted({*before, *_before(there)} - set(_shares(value)))}
            return (json.dumps(names if names["before"] else value) + "\n").encode()

        return self._alias(name, alias).update(moved)

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
        check = ParityCheck(checked=now, versions=package_versions(), **fields)
        self._check(name, version).update(lambda _: (check.model_dump_json(indent=2) + "\n").encode())
        return check

    def check_of(self, name: str, version: int) -> ParityCheck | None:
        """What the last parity check of a version found; None where it was never checked."""
        values = self._check(name, version).read()
        return ParityCheck.model_validate_json(values) if values else None

    def record_copy_check(self, name: str, version: int, copy_digest: str, **fields: Any) -> CopyCheck:
        """Keep what a parity check on a copy of the version's base found, in the place of an earlier one's.

        Args:
            copy_digest: the digest of the copy; `fields` are those of `ParityCheck`.
        """
        original = self.get(name, version).manifest.base_digest
        now = datetime.now(UTC).isoformat(timespec="seconds")
        check = CopyCheck(
            checked=now, versions=package_versions(), original_digest=original, copy_digest=copy_digest, **fields
        )
        self._copy_check(name, version, copy_digest).update(lambda _: (check.model_dump_json(indent=2) + "\n").encode())
        return check

    def copy_check_of(self, version: AdapterVersion, copy_digest: str) -> CopyCheck | None:
        """What the last parity check of a version on this copy of its base found; None where there was none."""
        values = self._copy_check(version.name, version.version, copy_digest).read()
        check = CopyCheck.model_validate_json(values) if values else None
        is_pair = check and (check.original_digest, check.copy_digest) == (version.manifest.base_digest, copy_digest)
        return check if is_pair else None

    def copy_checks_of(self, name: str, version: int) -> list[CopyCheck]:
        """What the last parity check of a version found on each copy of its base."""
        keys = sorted(self.place.glob(f"{name}/checks/v{version}-on-*.json"))
        found = (self.place.read(key) for key in keys)
        return [CopyCheck.model_validate_json(stored.content) for stored in found if stored]

    def find(self, name: str, *fingerprints: str) -> list[AdapterVersion]:
        """The versions that were made from exactly the inputs of one of these fingerprints, newest first."""
        return [each for each in reversed(self.versions(name)) if each.manifest.fingerprint in fingerprints]

    def names(self) -> list[str]:
        """Every adapter that has a version."""
        return sorted({key.partition("/")[0] for key in self.place.glob(f"*/v*/{MANIFEST}")})

    def versions(self, name: str) -> list[AdapterVersion]:
        """The published versions of an adapter, oldest first."""
        keys = self.place.glob(f"{name}/v*/{MANIFEST}")
        return [self.get(name, number) for number in sorted(_numbers(key.split("/")[1] for key in keys))]

    def _record(self, *key: str) -> SharedRecord:
        return SharedRecord(self.place, "/".join(key))

    def _check(self, name: str, version: int) -> SharedRecord:
        return self._record(name, "checks", f"v{version}.json")

    def _copy_check(self, name: str, version: int, copy_digest: str) -> SharedRecord:
        return self._record(name, "checks", f"v{version}-on-{copy_digest[:16]}.json")

    def _gates(self, name: str, version: int) -> SharedRecord:
        return self._record(name, "checks", f"v{version}-gates.json")

    def _alias(self, name: str, alias: str) -> SharedRecord:
        return self._record(name, "aliases", f"{alias}.json")

    def _take_number(self, name: str) -> int:
        (self.root / name).mkdir(parents=True, exist_ok=True)
        if self.bucket:
            below = [key.removeprefix(f"{name}/") for key in self.bucket.listed(f"{name}/")]
            taken = _numbers(key.removeprefix("numbers/").removesuffix(".json").partition("/")[0] for key in below)
        else:
            taken = _numbers(path.name for path in (self.root / name).glob("v*"))
        return next(number for number in count(1 + max(taken, default=0)) if self.take_number(name, number, _own()))

    def take_number(self, name: str, version: int, owner: bytes) -> bool:
        """Take a number for good; False where somebody else has it. `owner` is content that nobody else would write."""
        if self.bucket:
            return self.bucket.create(f"{name}/numbers/v{version}.json", owner)
        try:
            (self.root / name / f"v{version}").mkdir()
        except FileExistsError:
            return False
        return True

    def _known(self, name: str) -> str:
        numbers = (
            ", ".join(str(version.version) for version in self.versions(name)) if NAME_PATTERN.fullmatch(name) else ""
        )
        if numbers:
            return f"Versions of {name}: {numbers}."
        return f"Known adapters: {', '.join(self.names()) or 'none yet'}."


def _copy_whole(staging: Path, path: Path) -> None:
    """Copy a version's files, or leave none: a part of them would only take room on a disk that is full."""
    try:
        shutil.copytree(staging, path, dirs_exist_ok=True)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _own() -> bytes:
    return json.dumps({"publisher": uuid.uuid4().hex, "taken": datetime.now(UTC).isoformat()}).encode()


def _numbers(names: Iterable[str]) -> set[int]:
    """The N of every v<N>."""
    return {int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdecimal()}


def _before(alias: bytes | None) -> set[int]:
    value = json.loads(alias) if alias else {}
    return {*value.get("before", []), *(_shares(value) if value else ())}


def _shares(alias: dict[str, Any]) -> dict[int, int]:
    split: dict[str, int] = alias.get("split") or {str(alias["version"]): 1}
    return {int(version): share for version, share in sorted(split.items(), key=lambda item: int(item[0]))}


def share_percent(shares: dict[int, int], version: int) -> float:
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
