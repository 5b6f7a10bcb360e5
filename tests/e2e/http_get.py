# SPDX-License-Identifier: BSD-2-Clause
"""HTTP requests from inside a place of the lab, and what Prometheus would read from the answers."""

import json
import re
import sys
from collections import namedtuple

Answer = namedtuple("Answer", "status headers body")

METRICS = "http://127.0.0.1:10249"
HEALTH = "http://127.0.0.1:10256"

_FETCH = """
import json, sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
request = urllib.request.Request(sys.argv[1], method=sys.argv[2])
try:
    answer = opener.open(request, timeout=10)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, dict(answer.headers), answer.read().decode()]))
"""


def get(place, url, method="GET"):
    """The answer, whatever its status; no answer is an AssertionError with the reason."""
    return Answer(*json.loads(place.run(sys.executable, "-c", _FETCH, url, method).stdout))


def answers(place, url):
    """True if somebody answers there."""
    return place.run(sys.executable, "-c", _FETCH, url, "GET", check=False).returncode == 0


def samples(text):
    """{name: {labels: value}} of a scrape; labels are a frozenset of pairs."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
        if match:
            labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            found.setdefault(match[1], {})[labels] = float(match[3])
    return found


def scrape(place):
    return samples(get(place, f"{METRICS}/metrics").body)


def value(scraped, name, /, **labels):
    """The sum of the samples that have these labels."""
    wanted = set(labels.items())
    return sum(number for has, number in scraped.get(name, {}).items() if wanted <= has)
