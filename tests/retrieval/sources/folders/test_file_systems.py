"""Which file system a file lies on, from tables as Linux writes them."""

import os
from pathlib import Path

from retrieval.sources.folders.file_systems import Mounts, is_local

TABLE = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 21 0:26 / /srv/my\040docs rw - nfs4 10.0.0.1:/docs rw,vers=4.2
31 21 0:27 / /srv/my\040docs/near rw shared:2 master:3 - tmpfs tmpfs rw
32 21 0:28 / /mnt rw - tmpfs tmpfs rw
33 32 0:29 / /mnt rw - fuse.sshfs host:/ rw
34 21 0:40 /@ /home rw - btrfs /dev/sdb rw
"""


def test_the_kind_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(TABLE)
    mounts = Mounts.read(tmp_path / "mountinfo")
    unknown = os.makedev(0, 99)
    for path, kind in [
        ("/etc/a.md", "ext4"), ("/srv/my docs/a.md", "nfs4"), ("/srv/my docs/near/a.md", "tmpfs"),
        ("/srv/my docs2/a.md", "ext4"), ("/mnt/a.md", "fuse.sshfs"), ("/home/a.md", "btrfs"),
    ]:  # fmt: skip
        assert mounts.kind_of(path, unknown) == kind
    assert mounts.kind_of("/etc/link.md", os.makedev(0, 26)) == "nfs4", "a link is what it points to"


def test_only_local_file_systems_are_trusted() -> None:
    assert [is_local(kind) for kind in ("ext4", "btrfs", None)] == [True] * 3
    assert [is_local(kind) for kind in ("nfs4", "cifs", "fuse.sshfs", "9p", "vfat")] == [False] * 5


def test_a_system_without_a_table_is_unknown(tmp_path: Path) -> None:
    assert Mounts.read(tmp_path / "missing").kind_of("/a", 1) is None


def test_this_machine(tmp_path: Path) -> None:
    assert Mounts.read().kind_of(str(tmp_path), tmp_path.stat().st_dev)
