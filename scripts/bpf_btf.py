# SPDX-License-Identifier: BSD-2-Clause
"""Reads the types (BTF, Documentation/bpf/btf.rst) of compiled BPF objects: maps, and arguments of global functions."""

import struct
from dataclasses import dataclass

import bpf_object

MAGIC = 0xeb9f
HEADER = "HBBIIIII"
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, \
    FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(1, 20)
MODIFIERS = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
# What follows a type: once, or for each of its members.
ONCE = {INT: "I", ARRAY: "III", VAR: "I", DECL_TAG: "I"}
EACH = {STRUCT: "III", UNION: "III", ENUM: "Ii", FUNC_PROTO: "II", DATASEC: "III", ENUM64: "III"}
LINKAGE_GLOBAL = 1


@dataclass
class Type:
    name: str
    kind: int
    linkage: int  # of a function
    target: int  # the type that this one is made of; of some kinds a size
    parts: list


@dataclass
class Map:
    name: str
    type: int
    flags: int


class _Btf:
    def __init__(self, path):
        data, order = bpf_object.section(path, ".BTF")
        if not data:
            raise ValueError(f"{path}: there is no BTF in it")
        magic, _, _, header, types, types_size, names, _ = struct.unpack_from(order + HEADER, data)
        if magic != MAGIC:
            raise ValueError(f"{path}: its BTF begins with {magic:#x}, not with {MAGIC:#x}")
        self.data, self.names, self.types = data, header + names, [None]
        offset, end = header + types, header + types + types_size
        while offset < end:
            name, info, target = struct.unpack_from(order + "III", data, offset)
            kind, count = info >> 24 & 0x1f, info & 0xffff
            form, times = (ONCE[kind], 1) if kind in ONCE else (EACH.get(kind, ""), count if kind in EACH else 0)
            size = struct.calcsize(order + form)
            parts = [struct.unpack_from(order + form, data, offset + 12 + part * size) for part in range(times)]
            self.types.append(Type(self.string(name), kind, count, target, parts))
            offset += 12 + times * size

    def string(self, offset):
        begin = self.names + offset
        return self.data[begin:self.data.index(b"\0", begin)].decode()

    def resolve(self, number):
        """The type behind typedefs and qualifiers; None: void."""
        found = self.types[number]
        while found and found.kind in MODIFIERS:
            found = self.types[found.target]
        return found

    def number_of(self, pointer):
        """What libbpf's __uint() wrote down: as many elements has the array that is pointed to."""
        return self.resolve(self.resolve(pointer).target).parts[0][2]


def maps(path):
    """The maps that an object declares, its constants and variables aside."""
    btf = _Btf(path)
    found = []
    for section in btf.types[1:]:
        if section.kind != DATASEC or section.name != ".maps":
            continue
        for number, _, _ in section.parts:
            variable = btf.types[number]
            members = {btf.string(name): member for name, member, _ in btf.resolve(variable.target).parts}
            flags = btf.number_of(members["map_flags"]) if "map_flags" in members else 0
            found.append(Map(variable.name, btf.number_of(members["type"]), flags))
    return found


def global_functions(path):
    """{name: [struct that an argument points to; "" for another pointer, None for no pointer]}"""
    btf = _Btf(path)
    found = {}
    for function in btf.types[1:]:
        if function.kind != FUNC or function.linkage != LINKAGE_GLOBAL:
            continue
        arguments = [btf.resolve(number) for _, number in btf.types[function.target].parts]
        found[function.name] = [
            (getattr(btf.resolve(argument.target), "name", "") if argument.kind == PTR else None)
            for argument in arguments]
    return found
