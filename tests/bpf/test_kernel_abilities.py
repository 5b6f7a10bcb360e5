# SPDX-License-Identifier: BSD-2-Clause
"""Whether the running kernel has what docs/kernels.md says that its version brought. It is asked without our programs:
each helper by a program that calls nothing else, of every type that uses it; each map type by a map."""

import ctypes
import os
import pathlib
import re
import resource
import struct
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "e2e")]

import abilities  # noqa: E402  (the path must be set before)
from programs import BPF_PROG_LOAD, bpf  # noqa: E402

BPF_MAP_CREATE = 0
LOG_SIZE = 4 << 20
# Program types and an attach type of each (linux/bpf.h): of the sockets' hooks, connect() stands for all.
PROGRAM_TYPES = {"SCHED_CLS": (3, 0), "XDP": (6, 0), "CGROUP_SOCK_ADDR": (18, 10), "SYSCALL": (31, 0)}
ATTACH_TYPES = {"CGROUP_INET4_BIND": 8, "CGROUP_INET6_BIND": 9, "CGROUP_INET4_CONNECT": 10, "CGROUP_INET6_CONNECT": 11,
                "CGROUP_UDP4_SENDMSG": 14, "CGROUP_UDP6_SENDMSG": 15, "CGROUP_UDP4_RECVMSG": 19,
                "CGROUP_UDP6_RECVMSG": 20, "CGROUP_INET4_GETPEERNAME": 29, "CGROUP_INET6_GETPEERNAME": 30, "XDP": 37}
NO_PREALLOC = 1
# Size of key and value, entries and flags, where they are not those of an array.
MAPS = {"QUEUE": (0, 8, 1, 0), "LPM_TRIE": (8, 8, 1, NO_PREALLOC), "RINGBUF": (0, 0, 4096, 0),
        "DEVMAP_HASH": (4, 4, 1, 0)}
OF_TYPES_ONLY = ("SK_STORAGE",)  # wants BTF
RUNNING = tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))

MOV, JEQ32, STORE, EXIT = 0xb7, 0x16, 0x7a, 0x95
CALL, ATOMIC, ADD, JNE = 0x85, 0xdb, 0x07, 0x55
STACK = 10
# The smallest function that needs an ability.
FUNCTIONS = {
    "jump of -mcpu=v3": [(MOV, 0, 0, 0, 1), (JEQ32, 0, 0, 0, 0), (EXIT, 0, 0, 0, 0)],
    "bounded loop": [(MOV, 0, 0, 0, 5), (ADD, 0, 0, 0, -1), (JNE, 0, 0, -2, 0), (EXIT, 0, 0, 0, 0)],
    "call of a function": [(CALL, 0, 1, 0, 1), (EXIT, 0, 0, 0, 0), (MOV, 0, 0, 0, 0), (EXIT, 0, 0, 0, 0)],
    "atomic add": [(STORE, STACK, 0, -8, 0), (MOV, 1, 0, 0, 1), (ATOMIC, STACK, 1, -8, 0), (MOV, 0, 0, 0, 0),
                   (EXIT, 0, 0, 0, 0)],
    "long program": [(MOV, 0, 0, 0, 0)] * 5000 + [(EXIT, 0, 0, 0, 0)],
}


@pytest.fixture(scope="module", autouse=True)
def fixture_memory():
    """Before 5.11 programs and maps count as locked memory, and freed ones leave a while later."""
    if RUNNING < (5, 11):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def listed(kind):
    """(name, version, objects, row) for all that the page lists of this kind."""
    for row in abilities.read_page(abilities.PAGE.read_text(encoding="utf-8")):
        if row.kind == kind:
            for name in row.names:
                yield name, abilities.version(row.cells["kernel"]), re.findall(r"`(\w+)`", row.cells["objects"]), row


def types_of(objects):
    """The program types of these objects, as the page has them."""
    return [name for name, _, others, _ in listed(abilities.PROGRAM_TYPE) if set(objects) & set(others)]


def load(program_type, attach_type, function):
    """(whether the kernel takes this program, what the verifier says)"""
    packed = b"".join(struct.pack("<BBhi", code, dst | src << 4, off, imm) for code, dst, src, off, imm in function)
    instructions, license_ = ctypes.create_string_buffer(packed), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(LOG_SIZE)
    attributes = struct.pack("<IIQQIIQII16sII", program_type, len(function), ctypes.addressof(instructions),
                             ctypes.addressof(license_), 1, LOG_SIZE, ctypes.addressof(log), 0, 0, b"", 0, attach_type)
    try:
        os.close(bpf(BPF_PROG_LOAD, attributes))
    except OSError as error:
        return False, f"{error}: {log.value.decode(errors='replace')}"
    return True, ""


def judge(name, version, has, said=""):
    """What a version promises must be there; a distribution's kernel may have more."""
    promised = RUNNING >= version
    if has and not promised:
        pytest.skip(f"{os.uname().release} has {name}, which the page gives to {version[0]}.{version[1]}")
    assert has == promised, f"{name} came with {version[0]}.{version[1]}, says the page, and is missing here: {said}"


def helper_calls():
    for name, version, objects, row in listed(abilities.HELPER):
        for program in types_of(objects):
            yield pytest.param(name, version, int(row.cells["id"]), program, id=f"{name} in {program}")


@pytest.mark.parametrize("name, version, number, program", helper_calls())
def test_a_helper_is_there_from_its_version_on(name, version, number, program):
    """Arguments are wrong, which the verifier tells after it has looked whether this type may call it at all."""
    _, said = load(*PROGRAM_TYPES[program], [(CALL, 0, 0, 0, number), (MOV, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)])
    judge(name, version, not re.search("invalid func|unknown func|cannot use helper", said), said)


@pytest.mark.parametrize("name, version", [
    pytest.param(name, version, id=name) for name, version, _, _ in listed(abilities.MAP_TYPE)
    if name not in OF_TYPES_ONLY])
def test_a_map_type_is_there_from_its_version_on(name, version):
    key, value, entries, flags = MAPS.get(name, (4, 8, 1, 0))
    number = abilities.MAP_TYPES.index(name) + 1
    try:
        os.close(bpf(BPF_MAP_CREATE, struct.pack("<IIIII", number, key, value, entries, flags)))
    except OSError as error:
        judge(name, version, False, error)
    else:
        judge(name, version, True)


@pytest.mark.parametrize("name, version, program", [
    pytest.param(name, version, types_of(objects)[0], id=name)
    for name, version, objects, _ in listed(abilities.ATTACH_TYPE)])
def test_an_attach_type_is_there_from_its_version_on(name, version, program):
    has, said = load(PROGRAM_TYPES[program][0], ATTACH_TYPES[name], [(MOV, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)])
    judge(name, version, has, said)


@pytest.mark.parametrize("name, version", [
    pytest.param(name, version, id=name) for name, version, _, _ in listed(abilities.ABILITY) if name in FUNCTIONS])
def test_an_ability_is_there_from_its_version_on(name, version):
    has, said = load(*PROGRAM_TYPES["SCHED_CLS"], FUNCTIONS[name])
    judge(name, version, has, said)
