"""The locks that others have on an SQLite file, and a lock of ours that keeps them out for a while.

SQLite asks the kernel for its locks (see its os_unix.c). Who begins to read asks for PENDING, and
then has SHARED until its transaction ends. Who writes has RESERVED, and at its commit waits with
PENDING until no SHARED is left. PENDING can be taken beside SQLite too: then nobody begins to read.
It can also be given back while a transaction is open, which SQLite cannot do with its own locks. At
the end of its transaction SQLite unlocks all, this one too.

What is in the file is protected by RESERVED and SHARED, which are never taken or given back here.
PENDING only keeps new readers out, for SQLite too: to lose it early, or to give back SQLite's, lets
a reader in whom a commit waits for, and does no harm.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import struct
import sys
import threading
from pathlib import Path

from ..core import clock

PENDING = 0x40000000
# PENDING, RESERVED, and the bytes of SHARED; and a lock as Linux has it.
ALL_LOCKS = (PENDING, 512)
FLOCK = "@hhqqi"
# Others wait for 5 seconds by default.
LONGEST_SHUT = 1.0


class SqliteFile:
    """A database's file.

    Its descriptor stays open: to close one would end all locks of this process on the file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_shut, self._open_at = False, 0.0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def lock_of_others(self) -> int:
        """The lock of another process on it: F_UNLCK, F_RDLCK of who reads, F_WRLCK of who writes.

        SQLite itself can ask only with a lock of its own.
        """
        lock = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, *ALL_LOCKS, 0)
        try:
            kind, *_ = struct.unpack(FLOCK, fcntl.fcntl(self._descriptor, fcntl.F_GETLK, lock))
        except OSError:
            return fcntl.F_UNLCK
        return int(kind)

    def shut(self) -> bool:
        """Let no other process in, for LONGEST_SHUT at most. A session of this process must have
        RESERVED: the end of its transaction lets them in again. False if somebody is in already.
        """
        with self._changed:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PENDING)
            except OSError as error:
                # Where there are no locks, nobody can be kept out.
                return error.errno not in (errno.EACCES, errno.EAGAIN)
            if self.lock_of_others() != fcntl.F_UNLCK:
                self._open()
                return False
            self._open_at = clock.monotonic() + LONGEST_SHUT
            if not self._is_shut:
                # Otherwise the thread looks in time, and need not be told of each transaction.
                self._is_shut = True
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._open_in_time, name="door", daemon=True)
                self._thread.start()
        return True

    def _open(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, PENDING)
        self._is_shut = False

    def _open_in_time(self) -> None:
        with self._changed:
            while True:
                left = self._open_at - clock.monotonic()
                if self._is_shut and left <= 0:
                    self._open()
                self._changed.wait(left if self._is_shut else None)


# By device and inode.
_files: dict[tuple[int, int], SqliteFile] = {}
# Threads do not come along, and their locks stay as they were.
os.register_at_fork(after_in_child=_files.clear)


def file_of(session: sqlite3.Connection) -> SqliteFile | None:
    """The file of this database; None where the kernel is not to be asked."""
    if sys.platform != "linux":
        return None
    [path] = (path for _, name, path in session.execute("PRAGMA database_list") if name == "main")
    try:
        status = Path(path).stat()
        key = (status.st_dev, status.st_ino)
        if key not in _files:
            _files[key] = SqliteFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return None
    return _files[key]
