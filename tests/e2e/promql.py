# SPDX-License-Identifier: BSD-2-Clause
"""Takes PromQL expressions apart, as far as to say which metrics and labels they name."""

import re
from collections import namedtuple

# A metric as it is selected: its matchers are (label, operator, value).
Selector = namedtuple("Selector", "metric matchers")
Named = namedtuple("Named", "selectors labels")

TOKEN = re.compile(r"""
    (?P<space>\s+) | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') |
    (?P<range>\[[^\]]*\]) | (?P<number>\d[\w.]*) | (?P<name>[a-zA-Z_:][\w:]*) |
    (?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},@])""", re.VERBOSE)
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "atan2"}
AGGREGATORS = {"sum", "min", "max", "avg", "group", "stddev", "stdvar", "count", "count_values", "bottomk",
               "topk", "quantile"}


def tokens(expression):
    """(kind, text) of each token; what is none is an AssertionError."""
    found, at = [], 0
    while at < len(expression):
        match = TOKEN.match(expression, at)
        assert match, f"no PromQL from here: {expression[at:]}"
        at = match.end()
        if match.lastgroup != "space":
            found.append((match.lastgroup, match[0]))
    return found


def closing(found, begin, bracket):
    return next(at for at in range(begin, len(found)) if found[at][1] == bracket)


def matchers(found):
    """Those between braces: label, operator, string, comma, ..."""
    read = []
    for at in range(0, len(found), 4):
        (_, label), (_, operator), (kind, text) = found[at:at + 3]
        assert kind == "string", f"a matcher's value is no string: {text}"
        read.append((label, operator, text[1:-1]))
    return read


def named(expression):
    """The selectors of an expression, and the labels that it groups or joins by."""
    found = tokens(expression)
    selectors, labels = [], set()
    at = 0
    while at < len(found):
        kind, text = found[at]
        following = found[at + 1][1] if at + 1 < len(found) else ""
        at += 1
        if kind != "name" or text.lower() in WORDS:
            continue
        if text in LABEL_LISTS:
            end = closing(found, at, ")") if following == "(" else at
            labels |= {label for kind, label in found[at:end] if kind == "name"}
            at = end
        elif following == "{":
            end = closing(found, at, "}")
            selectors.append(Selector(text, matchers(found[at + 1:end])))
            at = end + 1
        elif following != "(" and text not in AGGREGATORS:
            selectors.append(Selector(text, []))
    return Named(selectors, labels)
