# SPDX-License-Identifier: BSD-2-Clause
"""Faults as data: which requests they strike. client.Faults describes the fields; http.py, watch.py and
server.py do what they say."""

CONDITIONS = {"resource", "verb", "continued", "path", "skip", "times"}
EFFECTS = {"status", "headers", "body", "gone", "empty", "malformed", "truncate", "close", "close_after",
           "reset", "silent", "drip", "after_events"}
ALLOWED = {"gone": ("status", "event"), "close": ("now", "mid-object", "unfinished"),
           "verb": ("list", "watch", "get", "create", "update", "delete", "path")}


class Script:
    def __init__(self):
        self.faults, self.numbers = {}, 0

    def add(self, fault):
        unknown = fault.keys() - CONDITIONS - EFFECTS
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}; it may have: "
                             f"{', '.join(sorted(CONDITIONS | EFFECTS))}")
        if not fault.keys() & EFFECTS - {"reset", "headers", "body", "after_events"}:
            raise ValueError("this fault does nothing: it needs one of status, gone, empty, malformed, "
                             "truncate, close, close_after, silent, drip")
        for name, values in ALLOWED.items():
            if fault.get(name, values[0]) not in values:
                raise ValueError(f"{name} is one of {', '.join(values)}, not {fault[name]!r}")
        self.numbers += 1
        self.faults[self.numbers] = fault | {"number": self.numbers, "struck": 0, "seen": 0}
        return self.numbers

    def clear(self, number=None):
        if number is None:
            self.faults.clear()
        else:
            self.faults.pop(number, None)

    def list(self):
        return list(self.faults.values())

    def strike(self, verb, resource, request):
        """The fault that strikes this request, or an empty one."""
        for fault in self.faults.values():
            if not self.matches(fault, verb, resource, request):
                continue
            fault["seen"] += 1
            if fault["seen"] <= fault.get("skip", 0):
                continue
            if fault.get("times") is not None and fault["struck"] >= fault["times"]:
                continue
            fault["struck"] += 1
            return fault
        return {}

    @staticmethod
    def matches(fault, verb, resource, request):
        continued = bool(request.query.get("continue"))
        return (fault.get("resource", resource) == resource and fault.get("verb", verb) == verb
                and fault.get("continued", continued) == continued
                and request.path.startswith(fault.get("path", "")))
