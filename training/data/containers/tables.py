"""Rows of Parquet and Arrow files, and of data sets that `save_to_disk` or the hub holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from training.data.containers.records import SourceRecord, make_record, unusable_source

BATCH_ROWS = 256
PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
SAVED_MARKS = ("state.json", "dataset_dict.json")
_DATA_FILES = (".jsonl", ".json", ".parquet", ".arrow", ".csv", ".tsv", ".gz")


def read_parquet(path: Path) -> Iterator[SourceRecord]:
    """The records of a Parquet file. Raises TandemError where it is damaged."""
    from pyarrow.parquet import ParquetFile

    def batches() -> Iterator[Any]:
        with ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS)

    return _records(path, batches(), "Parquet")


def read_arrow(path: Path) -> Iterator[SourceRecord]:
    """The records of an Arrow file or stream. Raises TandemError where it is damaged."""
    import pyarrow

    def batches() -> Iterator[Any]:
        with pyarrow.memory_map(str(path)) as file:
            is_file = file.read(len(ARROW_FILE)) == ARROW_FILE
            file.seek(0)
            if is_file:
                reader = pyarrow.ipc.open_file(file)
                yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
            else:
                yield from pyarrow.ipc.open_stream(file)

    return _records(path, batches(), "Arrow")


def is_saved(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of Hugging Face's datasets wrote."""
    return any((folder / name).is_file() for name in SAVED_MARKS)


def read_saved(folder: Path, split: str) -> Iterator[SourceRecord]:
    """The records of a folder that `save_to_disk` wrote; of several splits, those of `split`.

    Raises:
        TandemError: it has no such split, or is damaged.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise unusable_source(
            folder, f"is a saved data set that cannot be read ({reason})", "Save it again."
        ) from error
    if isinstance(data, DatasetDict):
        if split not in data:
            raise unusable_source(
                folder, f"is a saved data set without the split `{split}`; it has {', '.join(sorted(data))}",
                "Name one of them: `data: [{path: FOLDER, split: NAME}]`.",
            )  # fmt: skip
        data = data[split]
    return _records(folder, data.with_format("arrow").iter(BATCH_ROWS), "saved data set")


def describe_folder(folder: Path) -> str:
    """What a folder is that is no saved data set: the files of rows in it, as far as there are any."""
    files = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _DATA_FILES)
    if not files:
        return "is a folder"
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"is a folder (with {', '.join(files[:3])}{more})"


def read_hub(name: str, hub: str | None, split: str) -> Iterator[SourceRecord]:
    """The records of a split of a hub data set. Raises TandemError where it cannot be loaded."""
    if hub and is_saved(Path(hub)):
        yield from read_saved(Path(hub), split)
        return
    for number, value in enumerate(_load_hub(name, hub, split), start=1):
        yield make_record(number, f"{name}:row {number}", value)


def _load_hub(name: str, hub: str | None, split: str) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(hub, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        # What `datasets` raises where the hub is out of reach, and where data set, split or files are not there.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TandemError(
            f"The data set {name} cannot be loaded ({reason}).",
            "A data set on the hub or in a folder, and one of its splits.",
            "Check `hub` and `split` under `training.data` and the connection to the hub, or name a file by `path`.",
        ) from error


def _check_columns(path: Path, names: list[str], what: str) -> None:
    """Raises TandemError where two columns have the same name: a row has room for one of them."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise unusable_source(path, f"is {what} with two columns `{twice}`", "Leave one of them.")


def _records(path: Path, batches: Iterator[Any], what: str) -> Iterator[SourceRecord]:
    """The rows of record batches, one batch in memory at a time."""
    import pyarrow

    number = 0
    try:
        for batch in batches:
            if number == 0:
                _check_columns(path, batch.schema.names, what)
            for start in range(0, batch.num_rows, BATCH_ROWS):
                for value in batch.slice(start, BATCH_ROWS).to_pylist():
                    number += 1
                    yield SourceRecord(number, f"{path}:row {number}", value)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = f"is not readable {what} behind row {number} ({str(error).splitlines()[0]})"
        raise unusable_source(path, problem, "Write the file again.") from error
