# SPDX-License-Identifier: BSD-2-Clause
"""Reads compiled BPF objects: functions, their instructions, and whom they call.

Only ELF's own structures and the instruction encoding (RFC 9669) are used, so the answer does not depend on the
version of a disassembler.
"""

import pathlib
import struct
from dataclasses import dataclass, field

SHT_SYMTAB, SHT_REL = 2, 9
STT_FUNC, STT_SECTION = 2, 3
R_BPF_64_64, R_BPF_64_32 = 1, 10

CLASS_MASK, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_JMP, CLASS_ALU64 = 0x07, 0x01, 0x02, 0x03, 0x05, 0x07
LD_IMM64, CALL, MOV64_REG, ADD64_IMM = 0x18, 0x85, 0xbf, 0x07
CALL_HELPER, CALL_FUNCTION = 0, 1
FRAME_POINTER = 10
INSTRUCTION_SIZE = 8


@dataclass
class Instruction:
    code: int
    dst: int
    src: int
    off: int
    imm: int


@dataclass
class Function:
    name: str
    section: str
    instructions: list = field(default_factory=list)
    frame: int = 0  # bytes of stack below the frame pointer
    helpers: set = field(default_factory=set)  # ids
    calls: set = field(default_factory=set)  # names of functions
    callbacks: set = field(default_factory=set)  # names of functions whose address is taken


class _Elf:
    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()
        if self.data[:4] != b"\x7fELF" or self.data[4] != 2:
            raise ValueError(f"{path}: not a 64-bit ELF object")
        self.order = "<" if self.data[5] == 1 else ">"
        table, = struct.unpack_from(self.order + "Q", self.data, 0x28)
        size, count, names = struct.unpack_from(self.order + "HHH", self.data, 0x3a)
        self.sections = [struct.unpack_from(self.order + "IIQQQQIIQQ", self.data, table + number * size)
                         for number in range(count)]
        self.names = [self.string(names, section[0]) for section in self.sections]

    def string(self, section, offset):
        begin = self.sections[section][4] + offset
        return self.data[begin:self.data.index(b"\0", begin)].decode()

    def content(self, number):
        return self.data[self.sections[number][4]:self.sections[number][4] + self.sections[number][5]]

    def symbols(self):
        for number, section in enumerate(self.sections):
            if section[1] != SHT_SYMTAB:
                continue
            for entry in struct.iter_unpack(self.order + "IBBHQQ", self.content(number)):
                name, info, _, where, value, size = entry
                yield self.string(section[6], name), info & 0xf, where, value, size

    def relocations(self):
        """{section: {offset: (symbol's index, type)}}"""
        found = {}
        for number, section in enumerate(self.sections):
            if section[1] == SHT_REL:
                for offset, info in struct.iter_unpack(self.order + "QQ", self.content(number)):
                    found.setdefault(section[7], {})[offset] = (info >> 32, info & 0xffffffff)
        return found

    def instructions(self, section, begin, size):
        content = self.content(section)[begin:begin + size]
        for code, registers, off, imm in struct.iter_unpack(self.order + "BBhi", content):
            low, high = registers & 0xf, registers >> 4
            yield Instruction(code, *((low, high) if self.order == "<" else (high, low)), off, imm)


def _frame_of(instructions):
    """The lowest byte of the frame that is touched, directly or through a copy of the frame pointer."""
    frame, copies = 0, set()
    for one in instructions:
        kind = one.code & CLASS_MASK
        if kind in (CLASS_ST, CLASS_STX) and one.dst == FRAME_POINTER:
            frame = max(frame, -one.off)
        elif kind == CLASS_LDX and one.src == FRAME_POINTER:
            frame = max(frame, -one.off)
        elif one.code == MOV64_REG and one.src == FRAME_POINTER:
            copies.add(one.dst)
        elif one.code == ADD64_IMM and one.dst in copies:
            frame = max(frame, -one.imm)
            copies.discard(one.dst)
    return frame


def read(path):
    """Returns {name: Function} of an object."""
    elf = _Elf(path)
    symbols, relocations = list(elf.symbols()), elf.relocations()
    placed = [(where, value, size, name) for name, kind, where, value, size in symbols if kind == STT_FUNC]
    starts = {(where, value): name for where, value, _, name in placed}
    functions = {}
    for where, value, size, name in placed:
        function = Function(name, elf.names[where], list(elf.instructions(where, value, size)))
        function.frame = _frame_of(function.instructions)
        for index, one in enumerate(function.instructions):
            offset = value + index * INSTRUCTION_SIZE
            symbol, _ = relocations.get(where, {}).get(offset, (None, None))
            target = symbols[symbol] if symbol is not None else None
            if one.code == CALL and one.src == CALL_HELPER:
                function.helpers.add(one.imm)
            elif one.code == CALL and one.src == CALL_FUNCTION:
                if target is None:  # in this section, counted from the next instruction
                    callee = starts[where, offset + (one.imm + 1) * INSTRUCTION_SIZE]
                elif target[1] == STT_SECTION:
                    callee = starts[target[2], (one.imm + 1) * INSTRUCTION_SIZE]
                else:
                    callee = target[0]
                function.calls.add(callee)
            elif one.code == LD_IMM64 and target and target[1] in (STT_FUNC, STT_SECTION):
                address = target[3] + one.imm if target[1] == STT_SECTION else target[3]
                if (target[2], address) in starts:
                    function.callbacks.add(starts[target[2], address])
        functions[name] = function
    return functions


def programs(functions):
    """The functions that the kernel calls: those of sections of their own, not of .text."""
    return [function for function in functions.values() if function.section != ".text"]
