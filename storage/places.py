"""What kind of disk a folder lies on: LMDB must not live on a network drive.

"Do not use LMDB databases on remote filesystems, even between processes on the
same host. This breaks flock() on some OSes, possibly memory map sync, and
certainly sync between programs on different hosts." (lmdb.h, Caveats.) Such a
store would work, and one day hold something else than what was acknowledged.
Where the kind of disk cannot be told, the start goes on.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defence.errors import FolderRefused

MOUNTINFO: Final = Path("/proc/self/mountinfo")
_MOUNT_COMMAND: Final = "/sbin/mount"
_PATIENCE: Final = 5.0  # seconds for that command, which asks no server
_DRIVE_REMOTE: Final = 4  # GetDriveTypeW

# File systems whose files live on another machine, or on the other side of a
# virtual machine's wall: memory maps and locks do not hold across either.
_REMOTE: Final = (
    "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs afpfs afs openafs auristorfs coda ncpfs ncp webdav "
    "davfs davfs2 9p v9fs ceph cephfs lustre glusterfs gpfs beegfs fhgfs orangefs pvfs2 panfs "
    "vboxsf vmhgfs prl_fs sshfs curlftpfs"
)
# FUSE programs of that kind, as "fuse.NAME"; others (ntfs-3g, mergerfs) are local
_REMOTE_FUSE: Final = (
    "sshfs rclone s3fs s3backer gcsfuse blobfuse blobfuse2 goofys geesefs mountpoint-s3 juicefs "
    "seaweedfs glusterfs ceph ceph-fuse davfs davfs2 curlftpfs smbnetfs nfs fuse-nfs gvfsd-fuse "
    "google-drive-ocamlfuse onedriver alluxio-fuse mfs moosefs lizardfs saunafs cvmfs2 ipfs "
    "vmhgfs-fuse"
)


@dataclass(frozen=True, slots=True)
class Place:
    """The file system under a folder: its type, where it is mounted, whether it is remote."""

    kind: str
    mount: str
    remote: bool


def refuse_remote(folder: Path) -> None:
    """Raise FolderRefused if the folder lies, or would be made, on a network drive."""
    place = place_of(folder)
    if place is None or not place.remote:
        return
    raise FolderRefused(
        f"{folder} lies on a network drive ({place.kind}, {place.mount}), where the stores "
        "cannot be kept safe",
        field="data_dir",
        value=str(folder),
        remedy="choose a folder on a disk of this machine; copy backups to the network drive",
    )


def place_of(folder: Path) -> Place | None:
    """Return what the folder lies on, through symbolic links; None if that cannot be told.

    The folder need not exist yet.
    """
    try:
        path = str(folder.resolve())
        platform: str = sys.platform
        if platform == "win32":
            return from_windows(path, _drive_type)
        if platform == "darwin" or "bsd" in platform:
            done = subprocess.run(  # noqa: S603 - the system's own command
                [_MOUNT_COMMAND],
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            return from_mount(os.fsdecode(done.stdout), path)
        return from_mountinfo(os.fsdecode(MOUNTINFO.read_bytes()), path)
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None  # no /proc, no such command, links in a circle: others say what is wrong


def _drive_type(root: str) -> int:
    if sys.platform == "win32":
        return int(ctypes.windll.kernel32.GetDriveTypeW(root))
    else:  # noqa: RET505 - so that each platform's type check sees its own branch
        return 0


def from_mountinfo(text: str, path: str) -> Place | None:
    """Return what lies under an absolute path by Linux' /proc/self/mountinfo (proc(5))."""
    return _innermost(_linux_mounts(text), path)


def from_mount(text: str, path: str) -> Place | None:
    """Return what lies under an absolute path by what `mount` prints on macOS and the BSDs."""
    return _innermost(_bsd_mounts(text), path)


def from_windows(path: str, drive_type: Callable[[str], int]) -> Place | None:
    r"""Return what lies under an absolute path of Windows: `\\server\share`, or a drive's type.

    `drive_type` is GetDriveTypeW: a root such as `Z:\` to a number.
    """
    plain = path.replace("/", "\\")
    if plain.upper().startswith("\\\\?\\UNC\\"):
        plain = "\\\\" + plain[8:]
    elif plain.startswith(("\\\\?\\", "\\\\.\\")):
        plain = plain[4:]
    if plain.startswith("\\\\"):
        return Place("network share", "\\\\" + "\\".join(plain[2:].split("\\")[:2]), remote=True)
    if not re.match(r"[A-Za-z]:", plain):
        return None
    root = f"{plain[0].upper()}:\\"
    remote = drive_type(root) == _DRIVE_REMOTE
    return Place("network drive" if remote else "drive", root, remote)


def is_remote(kind: str) -> bool:
    """Whether a file system type of Linux, macOS or a BSD is one of another machine."""
    kind = kind.lower()
    if kind.startswith(("fuse.", "fuseblk.")):
        return kind.partition(".")[2] in _REMOTE_FUSE.split()
    return kind in _REMOTE.split()


def _innermost(mounts: Iterable[Place], path: str) -> Place | None:
    """Return the mount that is deepest on the way to the path; of equal ones the last, on top."""
    found: Place | None = None
    for place in mounts:
        inside = path == place.mount or path.startswith(place.mount.rstrip("/") + "/")
        if inside and (found is None or len(place.mount) >= len(found.mount)):
            found = place
    return found


def _linux_mounts(text: str) -> Iterator[Place]:
    for line in text.splitlines():
        # ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [OPTIONAL...] - TYPE SOURCE OPTIONS
        before, found, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if found and len(fields) >= 5 and rest[0]:
            yield Place(rest[0], _unescaped(fields[4]), is_remote(rest[0]))


def _bsd_mounts(text: str) -> Iterator[Place]:
    for line in text.splitlines():
        # SOURCE on MOUNT (TYPE, OPTION, ...)
        match = re.fullmatch(r".*? on (/.*) \(([^()]*)\)", line)
        if match is not None:
            kind, *options = [word.strip() for word in match[2].split(",")]
            # the system's own word for it (MNT_LOCAL) counts as well
            yield Place(kind, match[1], is_remote(kind) or "local" not in options)


def _unescaped(field: str) -> str:
    r"""Return a path of mountinfo as it is: space, tab, newline and `\` stand there in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
