# SPDX-License-Identifier: BSD-2-Clause
"""What the API answers: paths, permissions, lists and their pages, single objects, discovery."""

import base64
import binascii
import json
import re

from . import statuses
from .resources import BadSelector, RESOURCES, selector
from .statuses import Answer, Refused
from .store import dump
from .writes import Writes

AGENT = "system:serviceaccount:kube-system:svc-agent"
ANONYMOUS = "system:anonymous"
ADMIN = "kubernetes-admin"  # who may do everything
PATH = re.compile(r"/(?:api/(?P<core>[^/]+)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
                  r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?/?")
OPEN_PATHS = ("/version", "/healthz", "/livez", "/readyz")
TOKEN_VERSION = "meta.k8s.io/v1"
ACCEPTED = ("application/json", "application/*", "*/*")
# The only hash of discovery documents that is known; clients do nothing with it.
SLICES_HASH = "Nx3SIv6I0mE="


class Target:
    """What a request is about: a resource (or one unknown, by name and group), or just a path."""

    def __init__(self, request):
        match = PATH.fullmatch(request.path)
        self.resource = self.name = self.namespace = self.version = self.unknown = None
        self.verb = "path"
        if not match:
            return
        group, self.version = match["group"] or "", match["core"] or match["version"]
        self.namespace, self.name = match["namespace"], match["name"]
        found = RESOURCES.get(match["resource"])
        if found and found.group == group:
            self.resource = found
        else:
            self.unknown = (match["resource"], group)
        self.verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
            request.method, "get" if self.name else "list")
        if self.verb == "list" and request.query.get("watch") in ("true", "1"):
            self.verb = "watch"

    @property
    def resource_name(self):
        return self.resource.name if self.resource else self.unknown[0] if self.unknown else None


class Wanted:
    """The options of a list or a watch, understood."""

    def __init__(self, request, target, settings):
        query = request.query
        self.resource, self.api, self.namespace = target.resource, target.version, target.namespace
        self.selected = bool(query.get("labelSelector") or query.get("fieldSelector"))
        try:
            self.selects = selector(target.resource, target.namespace, query.get("labelSelector", ""),
                                    query.get("fieldSelector", ""))
        except BadSelector as error:
            raise Refused(statuses.bad_request(
                f'Unable to find "{target.resource.api_version(target.version)}, Resource='
                f'{target.resource.name}" that match label selector "{query.get("labelSelector", "")}", '
                f'field selector "{query.get("fieldSelector", "")}": {error}')) from error
        self.text = query.get("resourceVersion", "")
        if self.text and not self.text.isdecimal():
            raise Refused(statuses.bad_version(self.text))
        self.version = int(self.text or 0)
        self.limit = int(query.get("limit") or 0)
        self.token = query.get("continue", "")
        self.exact = query.get("resourceVersionMatch") == "Exact"
        self.bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self.seconds = float(query.get("timeoutSeconds") or 0) or settings.watch_seconds
        streams = query.get("sendInitialEvents") if settings.streaming_lists != "ignored" else None
        self.initial = streams == "true" or (streams is None and not self.version)
        self.announces_end = streams == "true" and self.bookmarks


def check_options(query, is_watch, streaming):
    """What is wrong with the options of a list or a watch, as (field, text)."""
    match, initial = query.get("resourceVersionMatch"), "sendInitialEvents" in query
    field = "resourceVersionMatch"
    if not is_watch:
        if match and not query.get("resourceVersion"):
            yield field, "resourceVersionMatch is forbidden unless resourceVersion is provided"
        if match and query.get("continue"):
            yield field, "resourceVersionMatch is forbidden when continue is provided"
        if match == "Exact" and query.get("resourceVersion") == "0":
            yield field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        if initial and streaming != "ignored":
            yield "sendInitialEvents", "sendInitialEvents is forbidden for list"
        return
    if streaming == "ignored":
        return
    if initial and match != "NotOlderThan":
        yield field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    if initial and streaming == "invalid":
        yield ("sendInitialEvents", "sendInitialEvents is forbidden for watch unless the WatchList feature "
               "gate is enabled")
    if match and not initial:
        yield field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"


class Access:
    """Who asks, and what they may."""

    def __init__(self):
        self.tokens, self.certificates = {}, False
        self.forbidden = set()

    def user(self, request, peer):
        """The user's name; None if everybody may do everything."""
        if not self.tokens and not self.certificates:
            return None
        if self.certificates and peer:
            return peer
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return ANONYMOUS
        if token.strip() not in self.tokens:
            raise Refused(statuses.unauthorized())
        return self.tokens[token.strip()] or AGENT

    def check(self, user, target, request):
        if target.verb == "path":
            if user == ANONYMOUS and request.path.rstrip("/") not in OPEN_PATHS:
                raise Refused(statuses.forbidden_path(user, request.path))
            return
        allowed = ("create",) if target.resource_name == "events" else ("get", "list", "watch")
        refused = self.forbidden & {(target.resource_name, target.verb), (target.resource_name, None)}
        if user not in (None, ADMIN):
            refused = (refused or user == ANONYMOUS or target.unknown or target.verb not in allowed)
        if refused:
            raise Refused(self.refusal(user, target))

    @staticmethod
    def refusal(user, target):
        return statuses.forbidden(user or AGENT, target.verb, target.resource or target.unknown,
                                  target.namespace, target.name)


class Api:
    def __init__(self, store, settings):
        self.store, self.settings, self.writes = store, settings, Writes(store)

    def check(self, request, target):
        """Refuses what is there in no version, or in no form that the client takes."""
        accept = request.headers.get("accept", "*/*")
        types = [part.split(";")[0].strip() for part in accept.split(",")]
        if target.verb != "path" and not any(kind in ACCEPTED for kind in types):
            raise Refused(statuses.not_acceptable())
        if not target.resource or not self.settings.has(target.resource, target.version):
            raise Refused(statuses.no_such_resource())

    def path(self, request):
        """What is no resource."""
        path = request.path.rstrip("/")
        if path in ("/healthz", "/livez", "/readyz"):
            return statuses.health(path[1:], self.settings.ready or path == "/livez")
        if path == "/version":
            return Answer(200, json.dumps(version_document(self.settings.version), indent=2).encode())
        document = discovery(self.settings).get(path)
        if document is None:
            raise Refused(statuses.no_such_resource())
        return Answer(200, dump(document) + b"\n")

    def one(self, request, target):
        """get, create, update, delete, and what nobody may."""
        self.check(request, target)
        if target.verb == "get":
            stored = self.store.get(target.resource.name,
                                    "/".join(filter(None, (target.namespace, target.name))))
            if not stored:
                raise Refused(statuses.no_such_object(target.resource, target.name))
            return Answer(200, stored.whole(target.version) + b"\n")
        if target.verb == "create" and not target.name:
            return self.writes.create(request, target)
        if target.verb == "update" and target.name:
            return self.writes.update(request, target)
        if target.verb == "delete" and target.name:
            return self.writes.delete(target)
        raise Refused(statuses.failure(405, "the server does not allow this method on the requested resource",
                                       "MethodNotAllowed", details=statuses.details_of(target.resource)))

    def wanted(self, request, target):
        self.check(request, target)
        wrong = list(check_options(request.query, target.verb == "watch", self.settings.streaming_lists))
        if wrong:
            raise Refused(statuses.invalid_options(wrong))
        return Wanted(request, target, self.settings)

    def list(self, request, target, empty=False):
        wanted = self.wanted(request, target)
        name, after = target.resource.name, ""
        version = self.store.revision
        if wanted.token:
            version, after = self.page(wanted)
        elif wanted.exact:
            version = wanted.version
            if version < self.store.floor[name]:
                raise Refused(statuses.list_gone())
        objects = [] if empty else self.store.as_of(name, version)
        if wanted.selects:
            objects = [stored for stored in objects if wanted.selects(stored)]
        if after:
            objects = [stored for stored in objects if stored.key >= after]
        return Answer(200, self.list_body(wanted, version, objects, request.query.get("pretty") == "true"))

    def page(self, wanted):
        """The version of a page and the key it begins with."""
        version, after = decode_token(wanted.token)
        if wanted.version:
            raise Refused(statuses.bad_request("specifying resource version is not allowed when using "
                                               "continue"))
        if version == -1:
            version = self.store.revision
        elif version < self.store.floor[wanted.resource.name]:
            raise Refused(self.expired(wanted.token))
        return version, f"{wanted.namespace}/{after}" if wanted.namespace else after

    @staticmethod
    def expired(token):
        return statuses.page_gone(encode_token(-1, decode_token(token)[1]))

    def list_body(self, wanted, version, objects, pretty):
        metadata = {"resourceVersion": str(version)}
        # A list of version 0 comes from the cache, in one piece and any order.
        from_cache = wanted.text == "0" and not wanted.token
        if 0 < wanted.limit < len(objects) and not from_cache:
            last = objects[wanted.limit - 1]
            start = last.name if wanted.namespace else last.key
            metadata["continue"] = encode_token(version, start + "\0")
            if not wanted.selected:
                metadata["remainingItemCount"] = len(objects) - wanted.limit
            objects = objects[:wanted.limit]
        head = dump({"kind": wanted.resource.kind + "List",
                     "apiVersion": wanted.resource.api_version(wanted.api), "metadata": metadata})
        items = b",".join([stored.bytes(wanted.api) for stored in objects])
        body = b"".join((head[:-1], b',"items":[', items, b"]}\n"))
        return indented(body) if pretty else body


def indented(body):
    """For people. What Go holds as raw JSON stays on one line; its empty objects take three."""
    raw = []

    def held(obj):
        if "fieldsV1" in obj:
            raw.append(dump(obj["fieldsV1"]).decode())
            obj["fieldsV1"] = f"\0{len(raw) - 1}\0"
        return obj

    text = json.dumps(json.loads(body, object_hook=held), indent=2, ensure_ascii=False)
    text = re.sub(r'^( *)("[^"]*": )?\{\}', r'\1\2{\n\1  \n\1}', text, flags=re.M)
    return re.sub(r'"\\u0000(\d+)\\u0000"', lambda match: raw[int(match[1])], text).encode()


def encode_token(version, start):
    return base64.urlsafe_b64encode(
        dump({"v": TOKEN_VERSION, "rv": version, "start": start})).decode().rstrip("=")


def decode_token(text):
    """The version and the first key of a page."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise Refused(statuses.bad_request("invalid continue token: continue key is not valid: illegal "
                                           "base64 data")) from error
    try:
        token = json.loads(raw)
        return token["rv"], token["start"]
    except (ValueError, KeyError, TypeError) as error:
        first = chr(raw[0]) if raw else ""
        shown = json.dumps(first)[1:-1] if first else ""
        raise Refused(statuses.bad_request(
            f"invalid continue token: continue key is not valid: invalid character '{shown}' looking for "
            "beginning of value")) from error


def version_document(version):
    major, minor = version.removeprefix("v").split(".")[:2]
    return {"major": major, "minor": minor, "gitVersion": version,
            "gitCommit": "faecb196815e248d3ecfb03c680a4507229c2a56", "gitTreeState": "archive",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "go1.19.8", "compiler": "gc",
            "platform": "linux/amd64"}


def discovery(settings):
    """The discovery documents by path, of what exists now."""
    versions = {}
    for resource in RESOURCES.values():
        for version in resource.versions:
            if settings.has(resource, version):
                versions.setdefault(resource.group, {}).setdefault(version, []).append(resource)
    documents = {"/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}}
    groups = []
    for group, members in versions.items():
        named = [{"groupVersion": f"{group}/{version}", "version": version} for version in members]
        described = {"name": group, "versions": named, "preferredVersion": named[0]}
        if group:
            groups.append(described)
            documents[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1"} | described
        for version, resources in members.items():
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            documents[path] = {
                "kind": "APIResourceList", **({"apiVersion": "v1"} if group else {}),
                "groupVersion": resources[0].api_version(version),
                "resources": [resource_document(resource) for resource in resources]}
    documents["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return documents


def resource_document(resource):
    document = {"name": resource.name, "singularName": "", "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": ["create", "delete", "deletecollection", "get", "list",
                                                 "patch", "update", "watch"]}
    return document | ({"storageVersionHash": SLICES_HASH} if resource.name == "endpointslices" else {})
