# SPDX-License-Identifier: BSD-2-Clause
"""Objects by resource, with resourceVersions, and the history of their changes.

An object is turned into JSON once, when it is written; lists and watches join these bytes. The history is
a list of changes for each resource, so that any version since the last compaction can be made again by
taking changes back: for pages, for lists of an exact version and for watches that start in the past.
"""

import bisect
import datetime
import json
import random
import time
import uuid

from .convert import convert
from .resources import BY_KIND, DISCOVERY, RESOURCES

METADATA_ORDER = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation",
                  "creationTimestamp")
ESCAPES = {char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
HISTORY = 10000  # changes that are kept of each resource, at least


class NotFound(Exception):
    pass


class AlreadyExists(Exception):
    pass


def dump(value):
    """JSON as Go writes it: compact, UTF-8, and with what HTML minds escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char, escaped in ESCAPES.items():
        if char in text:
            text = text.replace(char, escaped)
    return text.encode()


class Stored:
    """One state of an object. `body` is its JSON as lists have it, without kind and apiVersion."""

    __slots__ = ("resource", "namespace", "name", "version", "api", "labels", "cluster_ip", "service_type",
                 "body", "other")

    def __init__(self, resource, api, obj, body=None):
        metadata, spec = obj["metadata"], obj.get("spec") or {}
        self.resource, self.api = resource, api
        self.namespace, self.name = metadata.get("namespace", ""), metadata["name"]
        self.version = int(metadata["resourceVersion"])
        self.labels = metadata.get("labels") or {}
        self.cluster_ip, self.service_type = spec.get("clusterIP", ""), spec.get("type", "")
        self.body, self.other = body or dump(obj), None

    @property
    def key(self):
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def dict(self):
        return json.loads(self.body)

    def object(self, api=None):
        """The whole object, with kind and apiVersion."""
        api = api or self.api
        return {"kind": self.resource.kind, "apiVersion": self.resource.api_version(api),
                **json.loads(self.bytes(api))}

    def bytes(self, api):
        """The body in this version of the API."""
        if api == self.api or self.resource.group != DISCOVERY:
            return self.body
        if self.other is None:
            self.other = dump(convert(self.dict(), api))
        return self.other

    def whole(self, api):
        """The body with kind and apiVersion, as watches and answers to GET have it."""
        head = f'{{"kind":"{self.resource.kind}","apiVersion":"{self.resource.api_version(api)}",'
        return head.encode() + self.bytes(api)[1:]

    def at(self, version):
        """The same state with another resourceVersion."""
        body = self.dict()
        body["metadata"]["resourceVersion"] = str(version)
        return Stored(self.resource, self.api, body)


class Change:
    """One event of the history. `now` of a DELETED is the last state with the version of the deletion."""

    __slots__ = ("version", "kind", "now", "before", "time_ns", "lines")

    def __init__(self, kind, now, before):
        self.version, self.kind, self.now, self.before = now.version, kind, now, before
        self.time_ns = time.monotonic_ns()
        self.lines = {}

    def line(self, selects, api):
        """The event for a watch with this selector (None: all objects), as bytes; None if it sees none."""
        kind, state = self.kind, "now"
        if selects:
            is_in = kind != "DELETED" and selects(self.now)
            was_in = self.before is not None and selects(self.before)
            if not is_in and not was_in:
                return None
            if is_in and not was_in:
                kind = "ADDED"
            elif was_in and not is_in:
                kind, state = "DELETED", "now" if kind == "DELETED" else "before"
            else:
                kind = "MODIFIED"
        line = self.lines.get((kind, api))
        if line is None:
            stored = self.now if state == "now" else self.before.at(self.version)
            line = self.lines[kind, api] = event_line(kind, stored.whole(api))
        return line


def event_line(kind, body):
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


def now_rfc3339():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """`on_change(change)` is called for each, at once."""

    def __init__(self, on_change):
        self.on_change = on_change
        self.revision = 1
        self.objects = {name: {} for name in RESOURCES}
        self.history = {name: [] for name in RESOURCES}
        self.floor = dict.fromkeys(RESOURCES, 1)  # older versions are compacted
        self.last = dict.fromkeys(RESOURCES, 1)   # the version of the last change
        self.written = []
        self.sorted = {}
        self.random = random.Random(1)

    # Reading.

    def get(self, name, key):
        return self.objects[name].get(key)

    def in_order(self, name):
        """All objects in the order of their keys."""
        if name not in self.sorted:
            objects = self.objects[name]
            self.sorted[name] = [objects[key] for key in sorted(objects)]
        return self.sorted[name]

    def as_of(self, name, version):
        """All objects at a version that is not compacted, in the order of their keys."""
        changes = self.since(name, version)
        if not changes:
            return self.in_order(name)
        objects = dict(self.objects[name])
        for change in reversed(changes):
            if change.before is None:
                objects.pop(change.now.key, None)
            else:
                objects[change.now.key] = change.before
        return [objects[key] for key in sorted(objects)]

    def since(self, name, version):
        """The changes after a version."""
        history = self.history[name]
        return history[bisect.bisect_right(history, version, key=lambda change: change.version):]

    # Writing.

    def put(self, obj, create=False):
        resource, api, body = self.taken_apart(obj)
        metadata = body["metadata"]
        key = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
        before = self.objects[resource.name].get(key)
        if before and create:
            raise AlreadyExists(key)
        old = json.loads(before.body)["metadata"] if before else {}
        metadata.setdefault("uid", old.get("uid") or str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", old.get("creationTimestamp") or now_rfc3339())
        metadata["resourceVersion"] = str(self.revision + 1)
        body["metadata"] = {name: metadata[name] for name in METADATA_ORDER if name in metadata} | metadata
        now = Stored(resource, api, body)
        self.write(Change("MODIFIED" if before else "ADDED", now, before))
        return now

    @staticmethod
    def taken_apart(obj):
        """The resource, the API version and a copy of the rest of an object that has its kind."""
        kind = obj.get("kind")
        if kind not in BY_KIND:
            raise ValueError(f'no resource has the kind "{kind}"; there are: {", ".join(BY_KIND)}')
        resource = BY_KIND[kind]
        api = obj.get("apiVersion", "v1").rpartition("/")[2]
        if api not in resource.versions:
            raise ValueError(f'{kind} has no version "{api}"; there are: {", ".join(resource.versions)}')
        body = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
        body["metadata"] = dict(body.get("metadata") or {})
        if "name" not in body["metadata"]:
            raise ValueError(f"the {kind} has no metadata.name")
        if resource.namespaced:
            body["metadata"].setdefault("namespace", "default")
        else:
            body["metadata"].pop("namespace", None)
        return resource, api, body

    def delete(self, name, key):
        before = self.objects[name].get(key)
        if before is None:
            raise NotFound(f"{name} has no {key}")
        self.write(Change("DELETED", before.at(self.revision + 1), before))

    def replay(self, event):
        """Applies a recorded event as it is. False if it is none of an object."""
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return False
        resource, api, body = self.taken_apart(event["object"])
        now = Stored(resource, api, body)
        if now.version <= self.last[resource.name]:
            raise ValueError(f"{resource.name} are at {self.last[resource.name]} already, "
                             f"so {now.key} of version {now.version} cannot follow")
        self.write(Change(event["type"], now, self.objects[resource.name].get(now.key)))
        return True

    def write(self, change):
        name, key = change.now.resource.name, change.now.key
        if change.kind == "DELETED":
            self.objects[name].pop(key, None)
        else:
            self.objects[name][key] = change.now
        self.sorted.pop(name, None)
        self.revision = max(self.revision, change.version)
        self.last[name] = change.version
        history = self.history[name]
        history.append(change)
        if len(history) > 2 * HISTORY:
            self.floor[name] = history[HISTORY - 1].version
            del history[:HISTORY]
        self.written.append((change.version, change.kind, name, key, change.time_ns))
        self.on_change(change)

    # Loading, compaction, loss.

    def load(self, path):
        """Takes the objects of a list in. Watches hear nothing of it. Returns how many."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        count = 0
        for stored in read_list(text):
            self.objects[stored.resource.name][stored.key] = stored
            self.revision = max(self.revision, stored.version)
            count += 1
        version = json.loads(head_of(text)).get("metadata", {}).get("resourceVersion") or 0
        self.revision = max(self.revision, int(version))
        self.compact()
        return count

    def compact(self):
        for name in RESOURCES:
            self.history[name].clear()
            self.floor[name] = self.last[name] = self.revision
        self.sorted.clear()
        self.written.clear()

    def lose(self, share, backwards):
        """Loses objects without a trace, as a restored backup does. Returns what is left."""
        self.revision = max(2, self.revision // 2) if backwards else self.revision + 1000
        for name, objects in self.objects.items():
            for key in self.random.sample(sorted(objects), int(len(objects) * share)):
                del objects[key]
            for key, stored in objects.items():
                if stored.version > self.revision:
                    objects[key] = stored.at(self.revision)
        self.compact()
        return {name: len(objects) for name, objects in self.objects.items()}


def head_of(text):
    """A list's JSON without its items, if it is compact, else all of it."""
    begin = text.find('"items":[', 0, 4096)
    return text if begin < 0 or "\n" in text[:begin] else text[:begin].rstrip(",") + "}"


def read_list(text):
    """The objects of a list. Those of a compact one keep their bytes."""
    head = json.loads(head_of(text))
    kind = head.get("kind", "")
    if kind != "List" and kind.removesuffix("List") not in BY_KIND:
        raise ValueError(f'a list of kind "{kind}" cannot be loaded: no resource is of that kind')
    api = head.get("apiVersion", "v1")
    if "items" in head:
        for item in head["items"] or []:
            resource, version, body = Store.taken_apart(
                {"kind": kind.removesuffix("List"), "apiVersion": api} | item)
            body["metadata"].setdefault("resourceVersion", "1")
            yield Stored(resource, version, body)
        return
    resource, version = BY_KIND[kind.removesuffix("List")], api.rpartition("/")[2]
    decode, place = json.JSONDecoder().raw_decode, text.index('"items":[') + len('"items":[')
    while text[place] != "]":
        obj, end = decode(text, place)
        yield Stored(resource, version, obj, text[place:end].encode())
        place = end + 1 if text[end] == "," else end
