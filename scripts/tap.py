# SPDX-License-Identifier: BSD-2-Clause
"""Results of tests, and the Test Anything Protocol, in which most of them come."""

import re


class Results:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add(self, name, ok, text=""):
        if ok:
            self.passed += 1
        else:
            self.failed.append((name, text))


def read_tap(group, output, code, results):
    """Test Anything Protocol, as cmocka and scripts/lint write it. Returns how many were seen."""
    seen = planned = 0
    notes = []
    for line in output.splitlines():
        plan = re.match(r"1\.\.(\d+)$", line)
        match = re.match(r"(not )?ok\s*(?:\d+)?\s*(?:- )?(.*)", line)
        if plan:
            planned = int(plan[1])
        elif match and "# SKIP" in line:
            seen += 1
            results.skipped.append(f"{group}: {match[2]}")
        elif match:
            seen += 1
            results.add(f"{group}: {match[2]}", not match[1], "\n".join(notes))
            notes = []
        else:
            notes.append(line)
    if planned > seen:
        results.add(f"{group}: ended ({code}) after {seen} of {planned} tests", False, "\n".join(notes))
    elif code and not any(name.startswith(f"{group}: ") for name, _ in results.failed):
        results.add(f"{group}: ended with {code}, though no test failed", False, "\n".join(notes))
    return seen
