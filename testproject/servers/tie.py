"""Become a command that dies with its parent, and that need not run as root.

Run by path, as `python tie.py SIGNAL PARENT USER COMMAND ...`; see processes.py.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(death_signal: str, parent: str, user: str, *command: str) -> None:
    """Tie, change the user if one is named, and replace this process by the command."""
    if user:
        drop_to(user)
    # After the change of user, which would undo it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):
            sys.exit("The parent has gone already.")
    os.execvp(command[0], command)


def drop_to(user: str) -> None:
    """Give up root for a user without rights, as PostgreSQL and MariaDB demand."""
    import pwd

    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main(*sys.argv[1:])
