# SPDX-License-Identifier: BSD-2-Clause
"""What checks in a guest share: lines of TAP, and what the kernel says of our programs."""

import ctypes
import json
import os
import pathlib
import struct
import subprocess
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[3]
FAIRLEAD = ROOT / "build" / "fairlead"
OUT = pathlib.Path("/out")
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from programs import SYS_BPF, bpf  # noqa: E402  (the path must be set before)

BPF_PROG_GET_NEXT_ID, BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD = 11, 13, 15
INFO_SIZE = 256
# Offsets in struct bpf_prog_info (linux/bpf.h).
XLATED_LENGTH, NAME, VERIFIED = 20, 64, 216
NAME_SIZE = 16

# Linux that brought what `fairlead status` else names as degraded.
SINCE = {"no-mtu": (5, 12), "no-netns-cookie": (5, 14), "no-timer": (5, 15), "no-retval": (5, 18), "no-tcx": (6, 6)}
FULLY_SUPPORTED = (5, 15)


def release():
    """Linux' version as a pair of numbers."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


_libc = ctypes.CDLL(None, use_errno=True)


class Checks:
    """Each promise is a line of TAP; what went before it explains it."""

    def __init__(self):
        self.failed = 0

    def promise(self, kept, name, why=""):
        for line in "" if kept else str(why).strip().splitlines():
            print(f"# {line}")
        print(f"{'ok' if kept else 'not ok'} - {name}", flush=True)
        self.failed += not kept
        return kept

    def run(self, function, *arguments):
        """A check that cannot go on to its end has failed."""
        try:
            function(self, *arguments)
        except Exception:  # whatever it is, it is shown, and the checks after it are run
            self.promise(False, f"{function.__name__} goes on to its end", traceback.format_exc())

    def exit(self):
        sys.exit(1 if self.failed else 0)


def next_program(number):
    """The next larger id of a loaded program; the kernel writes it behind the one it was given."""
    buffer = ctypes.create_string_buffer(struct.pack("<II", number, 0), 128)
    if _libc.syscall(SYS_BPF, BPF_PROG_GET_NEXT_ID, buffer, len(buffer)):
        raise FileNotFoundError(f"no program behind {number}")
    return struct.unpack_from("<I", buffer, 4)[0]


def programs():
    """Every program of ours that is loaded: name, instructions, and how many the verifier looked at (0: not told)."""
    found, number = {}, 0
    while True:
        try:
            number = next_program(number)
        except FileNotFoundError:
            return found
        descriptor = bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("<I", number))
        info = ctypes.create_string_buffer(INFO_SIZE)
        bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", descriptor, INFO_SIZE, ctypes.addressof(info)))
        os.close(descriptor)
        name = info.raw[NAME:NAME + NAME_SIZE].split(b"\0")[0].decode()
        if name.startswith("fl_"):
            xlated, verified = (struct.unpack_from("<I", info.raw, at)[0] for at in (XLATED_LENGTH, VERIFIED))
            found[name] = {"instructions": xlated // 8, "verified": verified}


def fairlead(*arguments, pins):
    return subprocess.run([FAIRLEAD, arguments[0], "--pin-dir", pins, *arguments[1:]], capture_output=True, text=True,
                          check=False)


def fairlead_json(*arguments, pins):
    return json.loads(fairlead(*arguments, "-o", "json", pins=pins).stdout)
