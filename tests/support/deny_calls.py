# SPDX-License-Identifier: AGPL-3.0-or-later
"""A command in a sandbox (seccomp) that denies system calls: `python deny_calls.py CALL,… COMMAND …` becomes it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

NUMBERS = {
    "x86_64": {"pidfd_open": 434, "setpriority": 141, "ioprio_set": 251, "memfd_create": 319},
    "aarch64": {"pidfd_open": 434, "setpriority": 140, "ioprio_set": 30, "memfd_create": 279},
}
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000


def deny(*calls: str) -> None:
    """From now on these fail with EPERM, in this process and all that it starts. Raises OSError."""
    numbers = [NUMBERS[os.uname().machine][call] for call in calls]
    program = [(_LOAD, 0, 0, 0)]  # the call's number
    program += [(_JUMP_IF_EQUAL, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _FAIL_WITH | errno.EPERM)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    whole = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, whole, 0, 0):
        raise OSError(ctypes.get_errno(), "no sandbox is to be had here")


if __name__ == "__main__":
    deny(*sys.argv[1].split(","))
    os.execvp(sys.argv[2], sys.argv[2:])
