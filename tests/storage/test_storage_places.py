"""What kind of disk a folder lies on, by recorded words of Linux, macOS and Windows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defence.errors import FolderRefused
from storage import places
from storage.folder import DataFolder
from storage.places import from_mount, from_mountinfo, from_windows, is_remote, place_of

# recorded on servers, shortened
MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k,mode=755
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:26 / /srv rw,relatime shared:7 - nfs4 filer:/export rw,vers=4.2,hard,proto=tcp
31 30 254:1 / /srv/fast rw,relatime shared:8 - xfs /dev/vdb rw,attr2
32 27 0:40 / /mnt/my\040share rw,relatime shared:9 master:2 - cifs //server/my\040share rw,vers=3.1
33 27 0:41 / /home/a/cloud rw,nosuid,nodev - fuse.rclone remote: rw,user_id=1000
34 27 0:42 / /media/stick rw,nosuid,nodev - fuseblk /dev/sdb1 rw,user_id=0
35 27 0:43 / /back\134slash rw - 9p drvfs rw,aname=drvfs;path=C:\134
36 27 0:44 / /twice rw - nfs filer:/twice rw
37 36 0:45 / /twice rw - tmpfs tmpfs rw
38 27 0:46 / /pool rw - fuse.mergerfs a:b rw
a line that nobody understands
39 27 0:47
"""

LINUX = [
    ("/", "ext4", "/", False),
    ("/home/a", "ext4", "/", False),
    ("/srv/dtms", "nfs4", "/srv", True),
    ("/srv", "nfs4", "/srv", True),
    ("/srvother", "ext4", "/", False),
    ("/srv/fast/dtms", "xfs", "/srv/fast", False),
    ("/srv/faster", "nfs4", "/srv", True),
    ("/mnt/my share/data", "cifs", "/mnt/my share", True),
    ("/home/a/cloud/x/y", "fuse.rclone", "/home/a/cloud", True),
    ("/media/stick/x", "fuseblk", "/media/stick", False),
    ("/back\\slash/x", "9p", "/back\\slash", True),
    ("/twice/x", "tmpfs", "/twice", False),  # what was mounted last lies on top
    ("/pool/x", "fuse.mergerfs", "/pool", False),
]


@pytest.mark.parametrize(("path", "kind", "mount", "remote"), LINUX)
def test_linux(path: str, kind: str, mount: str, remote: bool) -> None:
    place = from_mountinfo(MOUNTINFO, path)
    assert place is not None
    assert (place.kind, place.mount, place.remote) == (kind, mount, remote)


MOUNT = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//guest:@server._smb._tcp.local/share on /Volumes/share (smbfs, nodev, nosuid, mounted by user)
filer:/export on /Volumes/on top (nfs, nodev, nosuid)
/dev/disk4s1 on /Volumes/Stick (msdos, asynchronous, local, noowners)
sshfs@macfuse0 on /Volumes/far (macfuse, nodev, nosuid, synchronous, mounted by user)
"""

MACOS = [
    ("/Users/a", "apfs", "/", False),
    ("/System/Volumes/Data/x", "apfs", "/System/Volumes/Data", False),
    ("/System/Volumes/Data/home/a", "autofs", "/System/Volumes/Data/home", True),
    ("/Volumes/share/x", "smbfs", "/Volumes/share", True),
    ("/Volumes/on top/x", "nfs", "/Volumes/on top", True),
    ("/Volumes/Stick/x", "msdos", "/Volumes/Stick", False),
    ("/Volumes/far/x", "macfuse", "/Volumes/far", True),
]


@pytest.mark.parametrize(("path", "kind", "mount", "remote"), MACOS)
def test_macos(path: str, kind: str, mount: str, remote: bool) -> None:
    place = from_mount(MOUNT, path)
    assert place is not None
    assert (place.kind, place.mount, place.remote) == (kind, mount, remote)


def drive_type(root: str) -> int:
    """Answer as GetDriveTypeW: C: is fixed, Z: is remote, the rest does not exist."""
    assert len(root) == 3
    assert root.endswith(":\\")
    return {"C:\\": 3, "Z:\\": 4, "E:\\": 2}.get(root, 1)


WINDOWS = [
    (r"C:\Users\a\dtms", False),
    (r"c:\Users\a\dtms", False),
    (r"C:/Users/a", False),
    (r"E:\stick", False),
    (r"Z:\dtms", True),
    (r"z:/dtms", True),
    (r"\\server\share\dtms", True),
    (r"//server/share/dtms", True),
    (r"\\?\UNC\server\share\dtms", True),
    (r"\\?\unc\server\share\dtms", True),
    (r"\\wsl.localhost\Ubuntu\home", True),
    (r"\\?\C:\dtms", False),
    (r"\\?\Z:\dtms", True),
    (r"\\.\Z:\dtms", True),
]


@pytest.mark.parametrize(("path", "remote"), WINDOWS)
def test_windows(path: str, remote: bool) -> None:
    place = from_windows(path, drive_type)
    assert place is not None
    assert place.remote == remote


def test_windows_names_the_share() -> None:
    place = from_windows(r"\\?\UNC\server\share\a\b", drive_type)
    assert place is not None
    assert place.mount == r"\\server\share"
    assert from_windows("no drive at all", drive_type) is None


UNSAFE = (
    "nfs nfs4 cifs smb3 smbfs afs ncpfs fuse.sshfs fuse.rclone 9p davfs fuse.glusterfs ceph "
    "lustre vboxsf NFS4 Fuse.SSHFS fuse.s3fs fuse.vmhgfs-fuse"
)
LOCAL = (
    "ext2 ext3 ext4 xfs btrfs zfs f2fs bcachefs tmpfs ramfs overlay apfs hfs ufs ntfs ntfs3 vfat "
    "exfat fuseblk fuse fuse.mergerfs fuse.ntfs-3g ecryptfs virtiofs rootfs squashfs"
)


@pytest.mark.parametrize("kind", UNSAFE.split())
def test_unsafe_kinds(kind: str) -> None:
    assert is_remote(kind)


@pytest.mark.parametrize("kind", LOCAL.split())
def test_kinds_of_this_machine(kind: str) -> None:
    assert not is_remote(kind)


NAMES = st.lists(st.sampled_from(["a", "b", "ab", "a b", "c\\d", "é"]), min_size=1, max_size=4)


@given(st.lists(NAMES, max_size=6), NAMES)
def test_the_deepest_mount_on_the_way_counts(mounts: list[list[str]], path: list[str]) -> None:
    """Compared with walking up from the path, one folder at a time."""
    lines = ["1 1 0:0 / / rw - ext4 d rw"]
    by_point = {(): 0}
    for number, parts in enumerate(mounts, 1):
        point = "/" + "/".join(parts).replace("\\", r"\134").replace(" ", r"\040")
        lines.append(f"{number} 1 0:{number} / {point} rw - kind{number} d rw")
        by_point[tuple(parts)] = number
    walked = next(
        by_point[tuple(path[:length])]
        for length in range(len(path), -1, -1)
        if tuple(path[:length]) in by_point
    )
    place = from_mountinfo("\n".join(lines), "/" + "/".join(path))
    assert place is not None
    assert place.kind == (f"kind{walked}" if walked else "ext4")


@pytest.mark.parametrize("text", ["", "garbage", " - ", "1 2 3 4 5 - "])
def test_words_that_say_nothing(text: str) -> None:
    assert from_mountinfo(text, "/x") is None
    assert from_mount(text, "/x") is None


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the system calls a network drive."""
    if sys.platform != "linux":
        pytest.skip("the system's own words are read on Linux")
    shared = tmp_path / "the share"
    shared.mkdir()
    escaped = str(shared).replace(" ", r"\040")
    said = tmp_path / "mountinfo"
    said.write_text(f"1 1 0:1 / / rw - ext4 d rw\n2 1 0:2 / {escaped} rw - nfs4 filer:/x rw\n")
    monkeypatch.setattr(places, "MOUNTINFO", said)
    return shared


@pytest.mark.parametrize("way", ["straight", "by a link", "with dots"])
def test_a_network_drive_is_refused_before_anything_is_made(
    recorded: Path, tmp_path: Path, way: str
) -> None:
    asked = recorded / "deep" / "dtms-data"
    if way == "by a link":
        (tmp_path / "link").symlink_to(recorded, target_is_directory=True)
        asked = tmp_path / "link" / "dtms-data"
    if way == "with dots":
        asked = tmp_path / "elsewhere" / ".." / "the share" / "dtms-data"
    with pytest.raises(FolderRefused) as told:
        DataFolder(asked, parents=True)
    text = str(told.value)
    assert str(asked) in text
    assert "nfs4" in text
    assert str(recorded) in text
    assert told.value.field == "data_dir"
    assert "disk of this machine" in str(told.value.remedy)
    assert list(recorded.iterdir()) == []
    DataFolder(tmp_path / "local")  # beside it is fine


def test_where_it_cannot_be_told_the_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOUNTINFO", tmp_path / "no such file")
    monkeypatch.setattr(places, "_MOUNT_COMMAND", str(tmp_path / "no such command"))
    if sys.platform != "win32":
        assert place_of(tmp_path) is None
    DataFolder(tmp_path / "data")


def test_this_machine_is_understood(tmp_path: Path) -> None:
    place = place_of(tmp_path / "not made yet" / "x")
    assert place is not None
    assert not place.remote
    assert place.kind
    if sys.platform == "linux":
        assert os.path.ismount(place.mount)
