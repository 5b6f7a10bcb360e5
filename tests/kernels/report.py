# SPDX-License-Identifier: BSD-2-Clause
"""What check-kernels says: a line for each row, failures, and the tables of docs/kernels.md."""

import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "kernels.md"
BEGIN, END = "<!-- table: make check-kernels -->", "<!-- end of table -->"
LIMIT = 1_000_000  # of instructions that the verifier looks at: BPF_COMPLEXITY_LIMIT_INSNS
NAME_SHOWN = 15  # the kernel cuts a program's name here
# What a kernel has where `fairlead status` does not name the lack of it.
FEATURES = {"no-timer": "timers", "no-retval": "bpf_set_retval", "no-tcx": "tcx"}
SHOWN_NOTES = 15


def counts(result, *groups):
    """passed/failed/skipped of these groups of jobs, in words; what was not done is a dash."""
    sums = [sum(result["groups"].get(group, (0, 0, 0))[index] for group in groups) for index in range(3)]
    if not any(sums):
        return "-"
    passed, failed, skipped = sums
    return f"{passed} passed" + (f", {failed} failed" if failed else "") + (f", {skipped} skipped" if skipped else "")


def line(name, arch, result):
    if "skip" in result:
        return f"skip {name} {arch}: {result['skip']}"
    total = counts(result, *result["groups"])
    told = "as before, nothing has changed" if result.get("cached") else f"{result['seconds']} s"
    return f"{'FAIL' if result['failed'] else 'ok  '} {name} {arch} (Linux {version(result)}): {total}; {told}"


def print_failures(rows):
    for (name, arch), result in rows.items():
        for test, text in result["failed"]:
            print(f"\nFAILED {name} {arch} {test}")
            for note in text.strip().splitlines()[-SHOWN_NOTES:]:
                print(f"    {note}")
        for test in result.get("skipped", ()):
            print(f"skipped {name} {arch} {test}")


def stacks():
    """{program: bytes of stack of its deepest chain, in steps of 16 and of 32}, from the objects."""
    paths = [ROOT / "build" / "bpf" / f"{path.stem}.o" for path in sorted((ROOT / "bpf").glob("*.bpf.c"))]
    shown = subprocess.run([ROOT / "scripts" / "stack-depth", "--json", *paths], capture_output=True, text=True, check=False)
    return {row["program"]: (row["stack_16"], row["stack_32"]) for row in json.loads(shown.stdout)}


def markdown(header, rows):
    """A table whose source can be read, too. Cells that are figures stand at the right."""
    is_figure = [all(re.fullmatch(r"[0-9,]+|-", row[column]) for row in rows) for column in range(len(header))]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def one(cells):
        return "| " + " | ".join(cell.rjust(width) if figure else cell.ljust(width)
                                 for cell, width, figure in zip(cells, widths, is_figure)) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if figure else "-") for width, figure in zip(widths, is_figure)) + "|"
    return "\n".join([one(header), rule, *map(one, rows)])


def version(result):
    """Linux' own version, where Debian's names of older kernels only have that of their interface."""
    return result["kernel"].split()[1].split("-")[0]


def worst(programs):
    name = max(programs, key=lambda program: programs[program]["verified"])
    verified = programs[name]["verified"]
    return f"{verified:,} ({100 * verified / LIMIT:.1f} %, `{name}`)" if verified else "-"


def kernel_row(name, arch, result, program_count):
    if "skip" in result:
        return [name, arch, f"skipped: {result['skip']}", "-", "-", "-", "-", "-", "-"]
    load = result["load"]
    if not load:
        return [version(result), arch, "refused", "-", "-", counts(result, "load"), "-", "-", "-"]
    has = [word for lack, word in FEATURES.items() if lack not in load["degraded"]]
    tests = [counts(result, "load", "clangs", "smoke"), counts(result, "bpf"), counts(result, "guest")]
    return [version(result), arch, f"{len(load['programs'])} of {program_count}", ", ".join(has + ["clsact"]),
            ", ".join(load["degraded"]) or "nothing", *tests, worst(load["programs"])]


def kernel_table(rows, program_count):
    header = ["Linux", "on", "programs loaded", "features found", "degraded", "load, requests", "BPF_PROG_RUN", "devices, sockets",
              "verifier's worst"]
    return markdown(header, [kernel_row(name, arch, result, program_count)
                             for (name, arch), result in sorted(rows.items(), key=place_of(rows))])


def place_of(rows):
    """Architecture by architecture, in each the oldest kernel first."""
    order = list(rows)
    return lambda item: (item[0][1], -order.index(item[0]))


def program_table(rows, depths):
    loaded = [(key, result) for key, result in sorted(rows.items(), key=place_of(rows)) if result.get("load")]
    header = ["program", "stack, steps of 32", "of 16", *(f"{version(result)} {arch}" for (_, arch), result in loaded)]
    lines = []
    for program, (by_16, by_32) in sorted(depths.items()):
        cells = [f"`{program}`", str(by_32), str(by_16)]
        for _, result in loaded:
            verified = result["load"]["programs"].get(program[:NAME_SHOWN], {}).get("verified")
            cells.append(f"{verified:,}" if verified else "-")
        lines.append(cells)
    return markdown(header, lines)


def table(rows):
    depths = stacks()
    return "\n".join((
        kernel_table(rows, len(depths)), "",
        "Bytes of stack of each program's deepest call chain (the limit is 512), and instructions that the verifier looked at",
        f"(of {LIMIT:,}; a dash where the kernel does not say, or has not loaded it):", "", program_table(rows, depths)))


def write(text):
    """Between the marks of docs/kernels.md, which is made if it is not there."""
    page = PAGE.read_text() if PAGE.exists() else f"# Kernels\n\n{BEGIN}\n{END}\n"
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"check-kernels: {PAGE} has no lines {BEGIN} and {END}: the table is not written")
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
