# SPDX-License-Identifier: BSD-2-Clause
"""What the build asks of the kernel is what docs/kernels.md lists, and a difference does not go unnoticed."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import abilities  # noqa: E402  (the path must be set before)
from bpf_object import Instruction  # noqa: E402

# Asks for a good deal that fairlead does not.
STRANGE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(value, __u64);
} strange_map SEC(".maps");

__u64 strange_variable;
extern int strange_kernel_function(int number) __attribute__((section(".ksyms")));

__attribute__((noinline)) int strange_function(__u64 *number)
{
	return number ? (int)__sync_fetch_and_add(number, 1) : 0;
}

SEC("socket")
int strange_program(struct __sk_buff *skb)
{
	strange_variable += bpf_get_socket_cookie(skb);
	return strange_function(&strange_variable) + strange_kernel_function(1);
}
"""
# Instructions: code, dst, src, offset, immediate.
INSTRUCTIONS = {
    "move": ((0xbf, 1, 2, 0, 0), None),
    "store": ((0x7b, 10, 1, -8, 0), None),
    "load of 64 bits": ((0x18, 1, 0, 0, 0), None),
    "to big endian": ((0xdc, 1, 0, 0, 16), None),
    "jump if equal": ((0x15, 1, 0, 3, 0), None),
    "jump if lower": ((0xa5, 1, 0, 3, 0), "jump of -mcpu=v3"),
    "32-bit jump": ((0x16, 1, 0, 3, 0), "jump of -mcpu=v3"),
    "atomic add": ((0xdb, 1, 2, 0, 0x00), "atomic add"),
    "atomic add that returns": ((0xdb, 1, 2, 0, 0x01), "atomic add that returns a value"),
    "atomic or": ((0xc3, 1, 2, 0, 0x40), "atomic or"),
    "exchange": ((0xdb, 1, 2, 0, 0xe1), "atomic exchange"),
    "compare and exchange": ((0xdb, 1, 2, 0, 0xf1), "atomic compare and exchange"),
    "load-acquire": ((0xdb, 1, 2, 0, 0x100), "load-acquire"),
    "store-release": ((0xc3, 1, 2, 0, 0x110), "store-release"),
    "byte swap": ((0xd7, 1, 0, 0, 16), "byte swap whatever the byte order"),
    "signed division": ((0x3c, 1, 2, 1, 0), "signed division"),
    "signed remainder": ((0x9f, 1, 2, 1, 0), "signed division"),
    "sign extension": ((0xbf, 1, 2, 8, 0), "move with sign extension"),
    "signed load": ((0x81, 1, 2, 0, 0), "load with sign extension"),
    "long jump": ((0x06, 0, 0, 0, 3), "long jump"),
    "may_goto": ((0xe5, 0, 0, 3, 0), "may_goto"),
    "call by register": ((0x8d, 0, 1, 0, 0), "jump or call by register"),
    "legacy packet load": ((0x28, 0, 0, 0, 12), "instruction 0x28"),
}
# A row of the page in place of another, and what is said of it.
MISTAKES = {
    "an id of another helper": (
        r"\| `bpf_fib_lookup` \| 69 ", "| `bpf_fib_lookup` | 70 ",
        "helper bpf_fib_lookup has the id 69, its row says 70"),
    "an object that does not use it": (
        r"(\| `bpf_redirect_map` \| 51 \|) `xdp` ", r"\1 `socket`, `xdp` ",
        "helper bpf_redirect_map is used by xdp, its row says socket, xdp"),
    "a helper that nobody uses": (
        r"\| `bpf_redirect_map` \| 51 ", "| `bpf_redirect_peer` | 155 ",
        "helper bpf_redirect_peer is listed and no object uses it: remove its row"),
    "a row that stands twice": (
        r"(\| `LPM_TRIE` .*\n)", r"\1\1", "map type LPM_TRIE is listed twice"),
    "no version": (
        r"(\| `LPM_TRIE` \| [^|]*\|) 4.11 ", r"\1 old ",
        "the row of map type LPM_TRIE has no kernel version, as 5.15"),
    "no source": (
        r"b95a5c4db09b", "", "the row of map type LPM_TRIE has no source for its kernel version"),
    "no word about its absence": (
        r"(\| `LPM_TRIE` .*) required \|", r"\1 |",
        "the row of map type LPM_TRIE does not say what happens where it is missing"),
    "too young to be required": (
        r"(\| `LPM_TRIE` \| [^|]*\|) 4.11 ", r"\1 5.16 ",
        "map type LPM_TRIE came with 5.16 and is required, but kernels from 5.15 on are supported"),
    "a call that is not made": (
        r"`bpf_link_detach`", "`bpf_link_detach`, `bpf_iter_create`",
        "call of libbpf bpf_iter_create is listed and nothing uses it: remove it"),
    "a call that is not listed": (
        r"\| `bpf_link_detach` .*\n", "",
        "call of libbpf bpf_link_detach is used by build/fairlead and not listed: add it to a row"),
    "a flag that is not listed": (
        r"\| `BPF_ADJ_ROOM_MAC` .*\n", "", "flag of a helper BPF_ADJ_ROOM_MAC is used by bpf/"),
    "a word that is not there": (
        r"`SO_NETNS_COOKIE`", "`SO_NETNS_BISCUIT`",
        "cookie of a network namespace is listed, but user/base/netns.c does not say SO_NETNS_BISCUIT"),
    "a system call that is not listed": (
        r"\| a process by its descriptor .*\n", "",
        "interface SYS_pidfd_open is used by user/link/sockets/process_sockets.c and not listed"),
    "a table of something else": (
        r"\| map flag \|", "| map colour |",
        'a table lists "map colour", of which scripts/abilities.py knows nothing'),
}


@pytest.fixture(scope="module", name="found")
def fixture_found():
    return abilities.read_build(abilities.object_paths(), ROOT / "build" / "fairlead")


@pytest.fixture(scope="module", name="strange")
def fixture_strange(tmp_path_factory):
    """What is said about an object that is no part of fairlead."""
    folder = tmp_path_factory.mktemp("strange")
    source, target = folder / "strange.bpf.c", folder / "strange.bpf.o"
    source.write_text(STRANGE)
    machine = subprocess.run(["cc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run([os.environ.get("CLANG", "clang"), "-target", "bpf", "-mcpu=v3", "-O2", "-g",
                    f"-I/usr/include/{machine}", "-c", source, "-o", target], check=True)
    found = abilities.Found()
    abilities.read_object(found, target)
    return "\n".join(abilities.differences("", found, abilities.helper_names()))


def page():
    return abilities.PAGE.read_text(encoding="utf-8")


def test_the_page_lists_what_the_build_asks_for_and_no_more(found):
    assert abilities.differences(page(), found, abilities.helper_names()) == []


def test_every_object_with_programs_has_some(found):
    seen = {where for places in found.uses[abilities.PROGRAM_TYPE].values() for where in places}
    assert seen == {path.name.split(".")[0] for path in abilities.object_paths()}


@pytest.mark.parametrize("kind, name", [
    ("program type", "section socket"), ("helper", "bpf_get_socket_cookie"),
    ("ability", "atomic add that returns a value"), ("ability", "variables"), ("ability", "kernel function")])
def test_what_a_program_asks_for_is_named_with_program_object_and_page(strange, kind, name):
    assert f"docs/kernels.md: {kind} {name} is used by strange_program of strange.bpf.o and not listed" in strange


@pytest.mark.parametrize("kind, name, where", [
    ("map type", "STACK", "strange_map"), ("map flag", "RDONLY_PROG", "strange_map"),
    ("ability", "global function", "strange_function"),
    ("ability", "pointer argument of a global function", "strange_function")])
def test_what_a_map_or_function_asks_for_is_named_with_it(strange, kind, name, where):
    assert f"docs/kernels.md: {kind} {name} is used by {where} of strange.bpf.o and not listed" in strange


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_instruction_is_known_by_what_it_needs(name):
    fields, needed = INSTRUCTIONS[name]
    assert abilities.instruction_ability(Instruction(*fields)) == needed


@pytest.mark.parametrize("fields, is_loop", [
    ((0x15, 1, 0, -3, 0), True), ((0x05, 0, 0, -3, 0), True), ((0x16, 1, 0, -3, 0), True), ((0x15, 1, 0, 3, 0), False),
    ((0x85, 0, 1, 0, -3), False), ((0x95, 0, 0, 0, 0), False), ((0x07, 1, 0, 0, -3), False)])
def test_a_loop_is_a_jump_back(fields, is_loop):
    assert abilities.jumps_back(Instruction(*fields)) is is_loop


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_on_the_page_is_found(found, name):
    pattern, replacement, sentence = MISTAKES[name]
    text, times = re.subn(pattern, replacement, page())
    assert times == 1
    assert sentence in "\n".join(abilities.differences(text, found, abilities.helper_names()))


def test_the_objects_of_a_row_can_be_written(found):
    wrong = page().replace("| `bpf_redirect_map` | 51 | `xdp` |", "| `bpf_redirect_map` | 51 | `tc` |")
    assert wrong != page()
    assert abilities.with_objects(wrong, found, abilities.helper_names()) == page()
