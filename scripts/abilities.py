#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compares what the built programs ask of the kernel with the tables of docs/kernels.md.

usage: abilities.py            prints a sentence for each difference; exit 1 if there is one
       abilities.py --found    prints what the build asks for, as the tables name it
       abilities.py --objects  writes into the page which objects use what; the rest is for whoever knows it

Every table whose last column is "where it is missing" is read; its first column says what it lists. Objects are read
instruction by instruction, the program by the symbols that it imports from libbpf, so what is used and not listed is
found, and what is listed and no longer used, too.
"""

import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field

sys.dont_write_bytecode = True
import bpf_btf  # noqa: E402  (siblings; no cache of them is to be left in the tree)
import bpf_object  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "kernels.md"
OLDEST = (5, 15)  # the oldest kernel that fairlead supports in full
LAST_COLUMN = "where it is missing"
REQUIRED = "required"

PROGRAM_TYPE, ATTACH_TYPE, HELPER = "program type", "attach type", "helper"
MAP_TYPE, MAP_FLAG, ABILITY = "map type", "map flag", "ability"
FLAG, CALL, INTERFACE = "flag of a helper", "call of libbpf", "interface"
OF_OBJECTS = (PROGRAM_TYPE, ATTACH_TYPE, HELPER, MAP_TYPE, MAP_FLAG, ABILITY)

# Numbers of the kernel's ABI (linux/bpf.h): map types from 1 on, flags from the lowest bit on.
MAP_TYPES = """hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash
    lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage
    reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage
    task_storage bloom_filter user_ringbuf cgrp_storage arena""".upper().split()
MAP_FLAGS = """no_prealloc no_common_lru numa_node rdonly wronly stack_build_id zero_seed rdonly_prog wronly_prog
    clone mmapable preserve_elems inner_map link path_fd vtype_btf_obj_fd token_fd segv_on_fault
    no_user_conv""".upper().split()
# What libbpf makes of a section's name.
SECTIONS = {"tc": ("SCHED_CLS", None), "xdp": ("XDP", "XDP"), "syscall": ("SYSCALL", None)}
SECTIONS |= {f"cgroup/{hook}{family}": ("CGROUP_SOCK_ADDR", f"CGROUP_{layer}{family}_{hook.upper()}")
             for layer, hooks in (("INET", ("bind", "connect", "getpeername", "getsockname")),
                                  ("UDP", ("sendmsg", "recvmsg")))
             for hook in hooks for family in "46"}
# Words of our sources that name flags and results of helpers.
FLAGS = r"\b(?:BPF_F|BPF_ADJ_ROOM|BPF_FIB_LOOKUP|BPF_MTU_CHK|BPF_RB|BPF_SK_STORAGE_GET_F)_\w+|\bmtu_result\b"
CONTEXTS = ("__sk_buff", "xdp_md", "bpf_sock_addr")

CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_JMP, CLASS_JMP32, CLASS_ALU64 = range(8)
MODE_IMM, MODE_MEM, MODE_MEMSX, MODE_ATOMIC = 0x00, 0x60, 0x80, 0xc0
DIV, MOD, MOV, END = 0x30, 0x90, 0xb0, 0xd0
JA, JLT, JLE, JSLT, JSLE, CALL_CODE, EXIT, JCOND = 0x00, 0xa0, 0xb0, 0xc0, 0xd0, 0x80, 0x90, 0xe0
BY_REGISTER = 0x08
FETCH = 0x01
ATOMICS = {0x00: "add", 0x40: "or", 0x50: "and", 0xa0: "xor", 0xe0: "exchange", 0xf0: "compare and exchange"}
LONG_PROGRAM = 4096


@dataclass
class Row:
    kind: str
    names: list
    cells: dict
    line: int


@dataclass
class Found:
    """What a build asks for: {kind: {name: {object: where it was seen first}}}"""
    uses: dict = field(default_factory=lambda: {kind: {} for kind in OF_OBJECTS})
    calls: set = field(default_factory=set)  # of libbpf
    flags: dict = field(default_factory=dict)  # {flag of a helper: source}

    def add(self, kind, name, where, program):
        self.uses[kind].setdefault(name, {}).setdefault(where, program)


def helper_names():
    """{id: name}, from libbpf's header."""
    folder = subprocess.run(["pkg-config", "--variable=includedir", "libbpf"], capture_output=True, text=True,
                            check=False).stdout.strip() or "/usr/include"
    header = pathlib.Path(folder, "bpf", "bpf_helper_defs.h").read_text(encoding="utf-8")
    return {int(number): name for name, number in
            re.findall(r"\(\*\s*(?:const\s+)?(bpf_\w+)\)\(.*\) = \(void \*\)\s*(\d+);", header)}


def atomic_ability(one):
    if one.imm in (0x100, 0x110):
        return "load-acquire" if one.imm == 0x100 else "store-release"
    operation = ATOMICS.get(one.imm & 0xf0, f"operation {one.imm:#x}")
    returns = one.imm & FETCH and operation in ("add", "or", "and", "xor")
    return f"atomic {operation}" + (" that returns a value" if returns else "")


def arithmetic_ability(one):
    operation, is_wide = one.code & 0xf0, one.code & 7 == CLASS_ALU64
    if operation == END and is_wide:
        return "byte swap whatever the byte order"
    if one.off and operation in (DIV, MOD):
        return "signed division"
    if one.off and operation == MOV:
        return "move with sign extension" if one.off > 1 else "cast of an address space"
    return None


def jump_ability(one):
    operation, is_narrow = one.code & 0xf0, one.code & 7 == CLASS_JMP32
    if operation == JCOND:
        return "may_goto"
    if operation == JA and is_narrow:
        return "long jump"
    if operation in (JA, CALL_CODE) and one.code & BY_REGISTER:
        return "jump or call by register"
    # One name, for which of these are used is the compiler's choice.
    return "jump of -mcpu=v3" if is_narrow or operation in (JLT, JLE, JSLT, JSLE) else None


def instruction_ability(one):
    """The name of what this instruction needs beyond the first kernel with eBPF; None: nothing."""
    kind, mode = one.code & 7, one.code & 0xe0
    if kind in (CLASS_ALU, CLASS_ALU64):
        return arithmetic_ability(one)
    if kind in (CLASS_JMP, CLASS_JMP32):
        return jump_ability(one)
    if kind == CLASS_STX and mode == MODE_ATOMIC:
        return atomic_ability(one)
    if kind == CLASS_LDX and mode == MODE_MEMSX:
        return "load with sign extension"
    if mode == (MODE_IMM if kind == CLASS_LD else MODE_MEM):
        return None
    return f"instruction {one.code:#04x}"


def jumps_back(one):
    operation = one.code & 0xf0
    if one.code & 7 == CLASS_JMP32 and operation == JA:
        return one.imm < 0
    return one.code & 7 in (CLASS_JMP, CLASS_JMP32) and operation not in (CALL_CODE, EXIT) and one.off < 0


def function_abilities(function, functions):
    """Names of all that the instructions of one function need."""
    found, is_second_half = set(), False
    for one in function.instructions:
        if is_second_half:
            is_second_half = False
            continue
        is_second_half = one.code == bpf_object.LD_IMM64
        found.add(instruction_ability(one))
        if jumps_back(one):
            found.add("bounded loop")
        if one.code == bpf_object.CALL and one.src == bpf_object.CALL_FUNCTION:
            found.add("call of a function")
    if function.callbacks:
        found.add("address of a function")
    if function.calls - set(functions):
        found.add("kernel function")
    if any(section.startswith(".rodata") for section in function.addresses):
        found.add("constants")
    if any(section.startswith((".data", ".bss")) for section in function.addresses):
        found.add("variables")
    if "" in function.addresses:
        found.add("kernel variable")
    return found - {None}


def reached_by(program, functions):
    """The program itself and every function below it."""
    reached, waiting = {}, [program.name]
    while waiting:
        function = functions.get(waiting.pop())
        if function and function.name not in reached:
            reached[function.name] = function
            waiting += sorted(function.calls | function.callbacks)
    return list(reached.values())


def read_program(found, where, program, functions):
    section = program.section
    types = SECTIONS.get(section, (f"section {section}", None))
    for kind, name in zip((PROGRAM_TYPE, ATTACH_TYPE), types):
        if name:
            found.add(kind, name, where, program.name)
    reached = reached_by(program, functions)
    if sum(len(function.instructions) for function in reached) > LONG_PROGRAM:
        found.add(ABILITY, "long program", where, program.name)
    for function in reached:
        for helper in sorted(function.helpers):
            found.add(HELPER, helper, where, program.name)
        for ability in sorted(function_abilities(function, functions)):
            found.add(ABILITY, ability, where, program.name)


def read_object(found, path):
    where, functions = path.name.split(".")[0], bpf_object.read(path)
    for program in bpf_object.programs(functions):
        read_program(found, where, program, functions)
    for one in bpf_btf.maps(path):
        found.add(MAP_TYPE, MAP_TYPES[one.type - 1] if one.type <= len(MAP_TYPES) else f"map type {one.type}", where,
                  one.name)
        for bit in range(32):
            if one.flags & 1 << bit:
                found.add(MAP_FLAG, MAP_FLAGS[bit] if bit < len(MAP_FLAGS) else f"map flag {1 << bit:#x}", where,
                          one.name)
    for name, arguments in bpf_btf.global_functions(path).items():
        if functions[name].section != ".text":
            continue
        found.add(ABILITY, "global function", where, name)
        if any(argument is not None and argument not in CONTEXTS for argument in arguments):
            found.add(ABILITY, "pointer argument of a global function", where, name)
    if bpf_object.section(path, ".BTF.ext")[0]:
        found.add(ABILITY, "types of functions", where, path.name)


def object_paths():
    return [ROOT / "build" / "bpf" / (source.name[:-1] + "o") for source in sorted((ROOT / "bpf").glob("*.bpf.c"))]


def libbpf_calls(program):
    shown = subprocess.run(["nm", "-D", "--undefined-only", program], capture_output=True, text=True, check=True)
    return set(re.findall(r"\bU (\w+)@+LIBBPF_", shown.stdout))


def helper_flags():
    found = {}
    for path in sorted((ROOT / "bpf").rglob("*.[ch]")):
        for word in re.findall(FLAGS, path.read_text(encoding="utf-8")):
            if word.removeprefix("BPF_F_") not in MAP_FLAGS:
                found.setdefault(word, str(path.relative_to(ROOT)))
    return found


def read_build(paths, program):
    found = Found(calls=libbpf_calls(program), flags=helper_flags())
    for path in paths:
        read_object(found, path)
    return found


def read_page(text):
    """The rows of every table that ends with LAST_COLUMN."""
    rows, header = [], None
    for number, line in enumerate(text.splitlines()):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else None
        if not cells:
            header = None
        elif header is None:
            header = cells
        elif header[-1] == LAST_COLUMN and not re.fullmatch(r"[-: ]+", cells[0]):
            rows.append(Row(header[0], re.findall(r"`([^`]+)`", cells[0]) or [cells[0]], dict(zip(header, cells)),
                            number))
    return rows


def used_by_name(found, kind, names):
    """{name as on the page: {object: where it was seen first}}"""
    if kind != HELPER:
        return found.uses[kind]
    return {names.get(number, f"number {number}"): places for number, places in found.uses[kind].items()}


def with_objects(text, found, names):
    """The page with the objects that use each row; a row that none uses stays as it is."""
    lines = text.splitlines()
    for row in read_page(text):
        used = used_by_name(found, row.kind, names) if row.kind in OF_OBJECTS else {}
        places = sorted({where for name in row.names for where in used.get(name, {})})
        if places:
            cells = {**row.cells, "objects": ", ".join(f"`{where}`" for where in places)}
            lines[row.line] = "| " + " | ".join(cells.values()) + " |"
    return "\n".join(lines) + "\n"


def version(text):
    if text == "any":
        return 0, 0
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+\.\d+", text) else None


def check_row(row):
    """What is wrong with a row in itself."""
    name, kernel = ", ".join(row.names), version(row.cells.get("kernel", ""))
    missing = row.cells.get(LAST_COLUMN, "")
    if not kernel:
        yield f"the row of {row.kind} {name} has no kernel version, as 5.15"
    elif kernel > OLDEST and missing.startswith(REQUIRED):
        yield (f"{row.kind} {name} came with {kernel[0]}.{kernel[1]} and is required, but kernels from "
               f"{OLDEST[0]}.{OLDEST[1]} on are supported: it needs a fallback")
    if not missing:
        yield f"the row of {row.kind} {name} does not say what happens where it is missing"
    if not row.cells.get("source"):
        yield f"the row of {row.kind} {name} has no source for its kernel version"


def check_names(rows):
    seen = set()
    for row in rows:
        for name in row.names:
            if (row.kind, name) in seen:
                yield f"{row.kind} {name} is listed twice"
            seen.add((row.kind, name))
        if row.kind not in (*OF_OBJECTS, FLAG, CALL, INTERFACE):
            yield f'a table lists "{row.kind}", of which scripts/abilities.py knows nothing'


def check_objects(rows, found, names):
    """Both directions, for all that is found in objects."""
    for kind in OF_OBJECTS:
        used, numbers = used_by_name(found, kind, names), {name: str(number) for number, name in names.items()}
        listed = {name: row for row in rows if row.kind == kind for name in row.names}
        for name, places in sorted(used.items()):
            where, program = next(iter(sorted(places.items())))
            if name not in listed:
                yield (f"{kind} {name} is used by {program} of {where}.bpf.o and not listed: add a row with the kernel "
                       f"that brought it and what happens where it is missing")
                continue
            objects = set(re.findall(r"`([^`]+)`", listed[name].cells.get("objects", "")))
            if objects != set(places):
                yield (f"{kind} {name} is used by {', '.join(sorted(places))}, its row says "
                       f"{', '.join(sorted(objects)) or 'nobody'}: run scripts/abilities.py --objects")
            if kind == HELPER and listed[name].cells.get("id") != numbers.get(name):
                yield f"{kind} {name} has the id {numbers.get(name)}, its row says {listed[name].cells.get('id')}"
        for name in sorted(set(listed) - set(used)):
            yield f"{kind} {name} is listed and no object uses it: remove its row"


def check_words(rows, kind, used):
    """Both directions, for what has no objects: {name: where it is used}."""
    listed = {name for row in rows if row.kind == kind for name in row.names}
    for name in sorted(set(used) - listed):
        yield f"{kind} {name} is used by {used[name]} and not listed: add it to a row"
    for name in sorted(listed - set(used)):
        yield f"{kind} {name} is listed and nothing uses it: remove it"


def check_interfaces(rows):
    """A row names files and words that stand in them; every system call made by its number has a row."""
    listed = set()
    for row in rows:
        if row.kind != INTERFACE:
            continue
        words = re.findall(r"`([^`]+)`", row.cells.get("in", ""))
        if len(words) != 2:
            yield f"the row of {INTERFACE} {row.names[0]} does not name a file and a word of it"
            continue
        path, word = words
        listed.add(word)
        if not (ROOT / path).is_file() or word not in (ROOT / path).read_text(encoding="utf-8"):
            yield f"{INTERFACE} {row.names[0]} is listed, but {path} does not say {word}"
    for path in sorted((ROOT / "user").rglob("*.c")):
        for word in sorted(set(re.findall(r"\bSYS_\w+", path.read_text(encoding="utf-8"))) - listed):
            yield f"{INTERFACE} {word} is used by {path.relative_to(ROOT)} and not listed"


def differences(text, found, names):
    """A sentence for each, with the page's name."""
    rows = read_page(text)
    sentences = [*check_names(rows), *(sentence for row in rows for sentence in check_row(row)),
                 *check_objects(rows, found, names), *check_words(rows, FLAG, found.flags),
                 *check_words(rows, CALL, dict.fromkeys(found.calls, "build/fairlead")), *check_interfaces(rows)]
    return [f"{PAGE.relative_to(ROOT)}: {sentence}" for sentence in sentences]


def print_found(found, names):
    for kind in OF_OBJECTS:
        for name, places in sorted(found.uses[kind].items()):
            print(kind, f"{names.get(name)} {name}" if kind == HELPER else name, ", ".join(sorted(places)), sep=" | ")
    for kind, words in ((FLAG, found.flags), (CALL, found.calls)):
        for name in sorted(words):
            print(kind, name, sep=" | ")


def main():
    if sys.argv[1:] not in ([], ["--found"], ["--objects"]):
        print(__doc__, file=sys.stderr)
        return 2
    program = ROOT / "build" / "fairlead"
    for path in (program, *object_paths()):
        if not path.exists():
            sys.exit(f"abilities: {path.relative_to(ROOT)} is not built; run: make")
    found, names = read_build(object_paths(), program), helper_names()
    text = PAGE.read_text(encoding="utf-8")
    if "--found" in sys.argv:
        print_found(found, names)
        return 0
    if "--objects" in sys.argv:
        PAGE.write_text(with_objects(text, found, names), encoding="utf-8")
        return 0
    sentences = differences(text, found, names)
    for sentence in sentences:
        print(sentence)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
