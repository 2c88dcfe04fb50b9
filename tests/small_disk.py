"""A small file system of its own, to be filled or made read-only, also for tests without root.

It is a tmpfs in a mount namespace that ends with this process, so nothing stays mounted, whatever kills the tests.
Decided against: a limit on file sizes, which says "file too large" and not "no space left", and permissions, which do
not bind root.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.skipping import skip_or_fail


class SmallDisk:
    """A mounted one."""

    def __init__(self, shell: subprocess.Popen[str], mounted_at: Path) -> None:
        self._shell = shell
        self._mounted_at = mounted_at

    @property
    def path(self) -> Path:
        """Its root, for processes outside its namespace."""
        return Path(f"/proc/{self._shell.pid}/root{self._mounted_at}")

    def fill(self, *, leaving: int = 0) -> None:
        """Take all space but so many bytes, also where others write and delete meanwhile."""
        with (self.path / "ballast").open("ab") as ballast:
            while (room := self._free() - leaving) > 0:
                try:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, room)
                except OSError as error:
                    # Somebody was faster; what is left is asked for anew.
                    if error.errno != errno.ENOSPC:
                        raise

    def _free(self) -> int:
        """Bytes that can still be written."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def make_space(self) -> None:
        """Give back what ``fill`` took."""
        (self.path / "ballast").unlink()

    def make(self, access: str) -> None:
        """Have it refuse writes, ``ro``, or take them again, ``rw``."""
        # Of the mount and not of the file system, whose owner is another one within a user namespace.
        assert self.tell(f"mount -o remount,bind,{access} {self._mounted_at}") == ""

    def tell(self, command: str) -> str:
        """Run a command beside the mount; what it complains about, empty if it succeeds."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        try:
            self._shell.stdin.write(f"if said=$({command} 2>&1); then echo; else echo failed: $said; fi\n")
            self._shell.stdin.flush()
        except BrokenPipeError:
            return "no mount namespace can be made"
        return self._shell.stdout.readline().strip()


@contextmanager
def small_disk(mounted_at: Path, megabytes: int) -> Iterator[SmallDisk]:
    """One mounted on a folder, which is made; where the machine does not allow it, a skip or a failure."""
    mounted_at.mkdir()
    # Who is not root may mount within a user namespace, as its root.
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--mount", "sh"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as shell:
        disk = SmallDisk(shell, mounted_at)
        if complaint := disk.tell(f"mount -t tmpfs -o size={megabytes}m small {mounted_at}"):
            skip_or_fail(f"needs a tmpfs in a mount namespace: {complaint}")
        yield disk
