# SPDX-License-Identifier: BSD-2-Clause
"""bpf(2), and other people's BPF programs: the smallest there are, made without a compiler, attached as theirs."""

import contextlib
import ctypes
import os
import platform
import socket
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 280)
BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_OBJ_PIN, BPF_OBJ_GET = 1, 2, 5, 6, 7
BPF_PROG_TEST_RUN, BPF_PROG_QUERY, BPF_LINK_CREATE = 10, 16, 28
BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP = 3, 6
BPF_TCX_INGRESS, BPF_TCX_EGRESS, BPF_XDP = 46, 47, 37
BPF_F_BEFORE = 1 << 3  # of tcx: with no relative, before all others
XDP_FLAGS_SKB_MODE = 1 << 1
TUPLE_LOCKS = 4096  # entries of the map (fairlead/limits.h)

TCX_NEXT, TC_ACT_OK, TC_ACT_SHOT = -1, 0, 2
XDP_DROP, XDP_PASS = 1, 2

TRANSPORT = {4: 14 + 20, 6: 14 + 40}  # where it begins in a frame, by family

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


def map_fill(path, entries):
    """Writes entries, pairs of bytes, into a pinned map."""
    path_buffer = ctypes.create_string_buffer(str(path).encode())
    descriptor = bpf(BPF_OBJ_GET, struct.pack("<QI", ctypes.addressof(path_buffer), 0))
    try:
        for key, value in entries:
            key_buffer = ctypes.create_string_buffer(key, len(key))
            value_buffer = ctypes.create_string_buffer(value, len(value))
            bpf(BPF_MAP_UPDATE_ELEM, struct.pack("<IIQQQ", descriptor, 0, ctypes.addressof(key_buffer),
                                                 ctypes.addressof(value_buffer), 0))
    finally:
        os.close(descriptor)


def hold_flows(pin_dir):
    """What an agent does before it puts a larger table of flows in the place of a smaller one, and then is killed."""
    path_buffer = ctypes.create_string_buffer(str(pin_dir / "tuple_locks").encode())
    locks = bpf(BPF_OBJ_GET, struct.pack("<QI", ctypes.addressof(path_buffer), 0))
    try:
        pin(locks, pin_dir / "flows_held")
    finally:
        os.close(locks)
    held = struct.pack("<IIII", 0, 1, 0, 0)  # struct tuple_lock
    map_fill(pin_dir / "tuple_locks", ((struct.pack("<I", index), held) for index in range(TUPLE_LOCKS)))


def _instruction(opcode, registers=0, offset=0, immediate=0):
    return struct.pack("<BBhi", opcode, registers, offset, immediate)


def _verdict(verdict):
    # r0 = verdict; exit
    return _instruction(0xB7, 0, 0, verdict) + _instruction(0x95)


def _load(kind, code):
    code_buffer = ctypes.create_string_buffer(code)
    license_buffer = ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack(
        "<IIQQIIQII16s", kind, len(code) // 8, ctypes.addressof(code_buffer),
        ctypes.addressof(license_buffer), 0, 0, 0, 0, 0, b"somebody_else"))


def load_verdict(verdict):
    """A program that only says what shall become of every packet. Returns its file descriptor."""
    return _load(BPF_PROG_TYPE_SCHED_CLS, _verdict(verdict))


def load_xdp_verdict(verdict):
    """The same for XDP."""
    return _load(BPF_PROG_TYPE_XDP, _verdict(verdict))


def load_drop_of_port(port, at):
    """A TC program that drops what has the port `at` that many bytes behind the frame's begin."""
    code = (_instruction(0xBF, 0x16)                 # r6 = the packet
            + _instruction(0x28, 0, 0, at)           # r0 = its half word there
            + _instruction(0x15, 0, 2, port)         # the port?
            + _verdict(TCX_NEXT) + _verdict(TC_ACT_SHOT))
    return _load(BPF_PROG_TYPE_SCHED_CLS, code)


def load_xdp_drop_of_port(port, at):
    """The same for XDP."""
    swapped = int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
    code = (_instruction(0x61, 0x12) + _instruction(0x61, 0x13, 4)            # r2, r3 = the frame's begin and end
            + _instruction(0xBF, 0x24) + _instruction(0x07, 0x04, 0, at + 2)  # r4 = r2 + at + 2
            + _instruction(0x2D, 0x34, 2)                                     # too short?
            + _instruction(0x69, 0x25, at) + _instruction(0x15, 0x05, 2, swapped)
            + _verdict(XDP_PASS) + _verdict(XDP_DROP))
    return _load(BPF_PROG_TYPE_XDP, code)


def pin(descriptor, path):
    buffer = ctypes.create_string_buffer(str(path).encode())
    bpf(BPF_OBJ_PIN, struct.pack("<QI", ctypes.addressof(buffer), descriptor))


@contextlib.contextmanager
def _inside(namespace):
    """Devices are those of the caller's network namespace: go there for a moment."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _set_namespace(there)
        try:
            yield
        finally:
            _set_namespace(here)
    finally:
        os.close(here)
        os.close(there)


def tcx_programs(namespace, device):
    """[(hook, program's id)] of what a device in a network namespace runs."""
    found = []
    for hook in (BPF_TCX_INGRESS, BPF_TCX_EGRESS):
        ids = (ctypes.c_uint32 * 64)()
        with _inside(namespace):
            buffer = ctypes.create_string_buffer(struct.pack(
                "<IIIIQI", socket.if_nametoindex(device), hook, 0, 0, ctypes.addressof(ids), len(ids)), 128)
            _call(BPF_PROG_QUERY, buffer)
        found += [(hook, number) for number in ids[:struct.unpack_from("<I", buffer, 24)[0]]]
    return found


@contextlib.contextmanager
def attached(descriptor, namespace, device, hook, flags=0):
    """On a device in a network namespace; of tcx behind all others, unless flags say otherwise. Closes the descriptor."""
    try:
        with _inside(namespace):
            link = bpf(BPF_LINK_CREATE, struct.pack("<IIIIIIQ", descriptor, socket.if_nametoindex(device), hook,
                                                    flags, 0, 0, 0))
    finally:
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(link)


def _set_namespace(descriptor):
    if _libc.setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")
