# SPDX-License-Identifier: BSD-2-Clause
"""bpf(2), and other people's BPF programs: the smallest there are, made without a compiler, attached as theirs."""

import ctypes
import os
import platform
import struct

SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 280)
BPF_MAP_LOOKUP_ELEM, BPF_PROG_LOAD, BPF_OBJ_PIN, BPF_OBJ_GET = 1, 5, 6, 7
BPF_PROG_TEST_RUN, BPF_LINK_CREATE = 10, 28
BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP = 3, 6
BPF_TCX_INGRESS, BPF_TCX_EGRESS = 46, 47

TCX_NEXT, TC_ACT_OK, TC_ACT_SHOT = -1, 0, 2
XDP_PASS = 2

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    """The system call; `attributes` is what a command needs of union bpf_attr."""
    return _call(command, ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128))


def _call(command, buffer):
    result = _libc.syscall(SYS_BPF, command, buffer, 128)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def run(descriptor, frame):
    """BPF_PROG_RUN, once: (verdict, the frame afterwards, nanoseconds)."""
    layout = "<IIIIQQII"
    source = ctypes.create_string_buffer(frame, len(frame))
    target = ctypes.create_string_buffer(2048)
    buffer = ctypes.create_string_buffer(128)
    struct.pack_into(layout, buffer, 0, descriptor, 0, len(frame), 2048, ctypes.addressof(source),
                     ctypes.addressof(target), 1, 0)
    _call(BPF_PROG_TEST_RUN, buffer)
    _, verdict, _, size, _, _, _, took = struct.unpack_from(layout, buffer, 0)
    return verdict, target.raw[:size], took


def map_has(path, key, value_size):
    """True if a pinned map has this key."""
    path_buffer = ctypes.create_string_buffer(str(path).encode())
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value_buffer = ctypes.create_string_buffer(value_size)
    try:
        descriptor = bpf(BPF_OBJ_GET, struct.pack("<QI", ctypes.addressof(path_buffer), 0))
    except FileNotFoundError:
        return False
    try:
        bpf(BPF_MAP_LOOKUP_ELEM, struct.pack("<IIQQQ", descriptor, 0, ctypes.addressof(key_buffer),
                                             ctypes.addressof(value_buffer), 0))
    except FileNotFoundError:
        return False
    finally:
        os.close(descriptor)
    return True


def load_verdict(verdict, kind=BPF_PROG_TYPE_SCHED_CLS):
    """A program that only says what shall become of every packet. Returns its file descriptor."""
    # r0 = verdict; exit
    code = struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code_buffer = ctypes.create_string_buffer(code)
    license_buffer = ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack(
        "<IIQQIIQII16s", kind, len(code) // 8, ctypes.addressof(code_buffer),
        ctypes.addressof(license_buffer), 0, 0, 0, 0, 0, b"somebody_else"))


def pin(descriptor, path):
    buffer = ctypes.create_string_buffer(str(path).encode())
    bpf(BPF_OBJ_PIN, struct.pack("<QI", ctypes.addressof(buffer), descriptor))


def attach_tcx(descriptor, ifindex, hook):
    """Behind all that are there. The link lasts as long as the descriptor returned."""
    return bpf(BPF_LINK_CREATE, struct.pack("<IIIIIIQ", descriptor, ifindex, hook, 0, 0, 0, 0))
