# SPDX-License-Identifier: BSD-2-Clause
"""What a story prints: a line "ok - ..." or "not ok - ..." for each promise, "# ..." for what explains it."""

import subprocess

_broken = []


class Skip(Exception):
    """What a story needs is not in this kernel, or not on this machine."""


def note(text):
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def promise(kept, text, *why_not):
    if not kept:
        for reason in why_not:
            note(reason)
        _broken.append(text)
    print(f"{'ok' if kept else 'not ok'} - {text}", flush=True)


def skipped(text, reason):
    print(f"ok - {text} # SKIP {reason}", flush=True)


def exit_code():
    return 1 if _broken else 0


def need_modules(*names):
    """Loads them, each with what it depends on."""
    for name in names:
        done = subprocess.run(["modprobe", name], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skip(f"this kernel has no module {name}")
