# SPDX-License-Identifier: BSD-2-Clause
"""The program as it is built: hardened, and the same wherever that was done."""

import os
import re
import shutil
import subprocess

import pytest

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "fairlead"
OBJECTS = [ROOT / "build" / "bpf" / source.with_suffix(".o").name for source in sorted(ROOT.glob("bpf/*.bpf.c"))]
USER_OBJECTS = [ROOT / "build" / source.relative_to(ROOT).with_suffix(".o") for source in sorted(ROOT.glob("user/**/*.c"))]
is_amd64 = os.uname().machine == "x86_64"


def readelf(*arguments, file=PROGRAM):
    return subprocess.run(["readelf", "--wide", *arguments, file], capture_output=True, text=True, check=True).stdout


def make(folder, *arguments, **variables):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=True,
                          env={**inherited, **variables}).stdout


def command_of(target, *arguments, **variables):
    """The command that makes it."""
    commands = make(ROOT, "--dry-run", "--always-make", "V=1", *arguments, target, **variables)
    return next(line for line in commands.splitlines() if line.endswith((f"-o {target}", f"-o {target} ")))


def test_the_program_is_position_independent_and_its_tables_are_read_only():
    assert re.search(r"Type:\s+DYN", readelf("--file-header"))
    segments = readelf("--program-headers")
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK.* RW ", segments)
    assert re.search(r"FLAGS_1.*NOW.*PIE", readelf("--dynamic"))


def test_the_stack_and_buffers_are_guarded():
    imported = readelf("--dyn-syms")
    assert "__stack_chk_fail" in imported
    assert "__snprintf_chk" in imported or "__vsnprintf_chk" in imported
    compiled_with = readelf("--debug-dump=info", "--dwarf-depth=1")
    assert "-fstack-clash-protection" in compiled_with
    assert "-D_FORTIFY_SOURCE=" in command_of("build/user/base/address.o")


@pytest.mark.skipif(not is_amd64, reason="CET is x86's")
def test_jumps_and_returns_are_guarded():
    """In what is ours: the linker takes the mark away where the distribution's own start code has none."""
    for path in USER_OBJECTS:
        assert re.search(r"x86 feature: IBT, SHSTK", readelf("--notes", file=path)), path


@pytest.mark.parametrize("path", [PROGRAM, *OBJECTS], ids=lambda path: path.name)
def test_no_path_of_the_builder_is_in_what_was_built(path):
    assert f"{ROOT}/".encode() not in path.read_bytes()


def test_another_directory_builds_the_same(tmp_path):
    for part in ("Makefile", "include", "bpf", "user", "scripts", "build/bpf", "build/skeleton"):
        source = ROOT / part
        shutil.copytree(source, tmp_path / part) if source.is_dir() else shutil.copy2(source, tmp_path)
    wanted = ["build/bpf/socket.bpf.o", "build/user/base/address.o", "build/user/fairlead.o"]
    (tmp_path / wanted[0]).unlink()
    make(tmp_path, *wanted)
    for name in wanted:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_flags_of_the_packager_are_added_to_ours():
    flags = ("CPPFLAGS=-DA_CPPFLAG", "CFLAGS=-fa-cflag", "LDFLAGS=-Wl,an-ldflag")
    compiled, linked = command_of("build/user/fairlead.o", *flags), command_of("build/fairlead", *flags)
    assert "-DA_CPPFLAG" in compiled and "-fa-cflag" in compiled
    assert "-fa-cflag" in linked and "-Wl,an-ldflag" in linked


def test_the_packager_s_fortification_stands():
    compiled = command_of("build/user/fairlead.o", "CPPFLAGS=-D_FORTIFY_SOURCE=2")
    assert "-D_FORTIFY_SOURCE=2" in compiled
    assert "-U_FORTIFY_SOURCE" not in compiled and "-D_FORTIFY_SOURCE=3" not in compiled


def test_the_compiler_of_the_environment_is_used():
    assert command_of("build/user/fairlead.o", CC="another-cc").startswith("another-cc ")
