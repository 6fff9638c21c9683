"""Which file systems the folders of this machine lie on, from what Linux says in /proc/self/mountinfo.

    mounts = Mounts.read()
    mounts.kind_of("/srv/docs", device)     # "nfs4"
    is_local("nfs4")                        # False

The table is read without touching the file systems: a server that does not answer makes nothing hang.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
LOCAL = frozenset(
    {
        "apfs", "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "nilfs2", "overlay",
        "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "xfs", "zfs",
    }
)  # fmt: skip
"""File systems of which this machine's kernel alone makes the times of inodes, and reports every change."""


def is_local(kind: str | None) -> bool:
    """Whether a change of content always comes with another inode time and an event. Unknown systems (no Linux) count
    as such; vfat and its like, which keep no inode time, do not."""
    return kind is None or kind in LOCAL


@dataclass(frozen=True)
class Mounts:
    """Mount points with their devices and kinds, the longest paths first."""

    points: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def read(cls, table: Path = TABLE) -> "Mounts":
        """Those of this process; none where the system has no such table."""
        try:
            points = list(_points(table.read_text(errors="surrogateescape")))
        except OSError:
            return cls()
        points.reverse()  # of several at one path the last one is seen
        return cls(tuple(sorted(points, key=lambda point: -len(point[0]))))

    def kind_of(self, path: str, device: int) -> str | None:
        """The kind of the file system that a file lies on: by its device, so that links are followed, or else by its
        path (btrfs and overlay have devices that no table names). None where nothing is known."""
        by_device = next((kind for _, each, kind in self.points if each == device), None)
        return by_device or next((kind for point, _, kind in self.points if _lies_in(path, point)), None)


def _lies_in(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _points(table: str) -> Iterator[tuple[str, int, str]]:
    """`36 35 98:0 /root /mount/point options - kind device options`, https://man7.org/linux/man-pages/man5/proc.5.html"""
    for line in table.splitlines():
        fields = line.split()
        if "-" not in fields[6:]:
            continue
        major, _, minor = fields[2].partition(":")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        yield point, os.makedev(int(major), int(minor)), fields[fields.index("-", 6) + 1]
