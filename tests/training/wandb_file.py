"""The records of a W&B run that was written offline: protobuf messages in a log of blocks, as LevelDB writes one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _FILE_HEADER, _RECORD_HEADER = 32768, 7, 7
_WHOLE, _LAST = 1, 4


def read_records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, message = path.read_bytes(), _FILE_HEADER, b""
    while place + _RECORD_HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _RECORD_HEADER:  # what is left of a block has no room for a header
            place += left
            continue
        # A checksum (4 bytes), the length (2) and which part of a message it is (1).
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        message += data[place + _RECORD_HEADER : place + _RECORD_HEADER + length]
        place += _RECORD_HEADER + length
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(message)
            message = b""
