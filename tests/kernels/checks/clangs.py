# SPDX-License-Identifier: BSD-2-Clause
"""This kernel's verifier takes what each clang but the default makes of the programs, too.

What the default makes is what the agent of load.py loads.
"""

import subprocess

from inside import Checks, ROOT


def load(checks, path):
    shown = subprocess.run([ROOT / "scripts" / "load-objects", path], capture_output=True, text=True, check=False)
    checks.promise(not shown.returncode, f"{path.relative_to(ROOT / 'build')} loads", shown.stderr[-2000:])


def main():
    checks = Checks()
    paths = sorted((ROOT / "build").glob("clang-*/bpf/*.bpf.o"))
    if not paths:
        print("ok - what other clangs make loads # SKIP there is no other clang")
    for path in paths:
        checks.run(load, path)
    checks.exit()


if __name__ == "__main__":
    main()
