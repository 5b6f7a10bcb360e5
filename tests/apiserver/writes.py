# SPDX-License-Identifier: BSD-2-Clause
"""POST, PUT and DELETE of single objects: as much of what an API server does then as tests of a whole cluster
need. A Service gets its ClusterIP and its defaults; the objects of a namespace go with it."""

import asyncio
import ipaddress
import json
import random

from . import statuses
from .resources import RESOURCES
from .statuses import Answer, Refused
from .store import AlreadyExists, dump

SERVICE_RANGE = ipaddress.ip_network("10.96.0.0/16")
DYING_SECONDS = 0.1  # how long a namespace is still there, "Terminating"


class Writes:
    def __init__(self, store):
        self.store = store

    # What a request asks for.

    def create(self, request, target):
        obj = self.decoded(request, target)
        metadata = obj["metadata"]
        if target.namespace and metadata.get("namespace", target.namespace) != target.namespace:
            raise Refused(statuses.bad_request("the namespace of the provided object does not match the "
                                               "namespace sent on the request"))
        try:
            if not metadata.get("name"):
                metadata["name"] = f'{metadata["generateName"]}{random.getrandbits(25):05x}'
        except KeyError as error:
            raise Refused(statuses.bad_request(f"the object cannot be decoded: {error!r}")) from error
        if target.resource.name == "services":
            self.default_service(obj.setdefault("spec", {}))
        if target.resource.name == "namespaces":
            obj |= {"status": {"phase": "Active"}}
        try:
            return Answer(201, self.store.put(obj, create=True).whole(target.version) + b"\n")
        except AlreadyExists as error:
            raise Refused(statuses.exists_already(target.resource, metadata["name"])) from error

    def update(self, request, target):
        obj, before = self.decoded(request, target), self.existing(target)
        version = obj["metadata"].get("resourceVersion")
        if version and int(version) != before.version:
            raise Refused(statuses.conflict(target.resource, target.name))
        if target.resource.name == "services":
            old = before.dict()["spec"]
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                obj.setdefault("spec", {}).setdefault(name, old.get(name))
            self.default_service(obj.setdefault("spec", {}))
        return Answer(200, self.store.put(obj).whole(target.version) + b"\n")

    def delete(self, target):
        stored = self.existing(target)
        if target.resource.name == "namespaces":
            return self.delete_namespace(stored)
        self.store.delete(target.resource.name, stored.key)
        return Answer(200, dump(statuses.success(target.resource, stored)) + b"\n")

    def delete_namespace(self, stored):
        """What is in it goes first; the namespace itself a moment later."""
        for resource in RESOURCES.values():
            keys = [key for key, held in self.store.objects[resource.name].items()
                    if resource.namespaced and held.namespace == stored.name]
            for key in keys:
                self.store.delete(resource.name, key)
        dying = stored.object() | {"status": {"phase": "Terminating"}}
        answer = Answer(200, self.store.put(dying).whole("v1") + b"\n")
        asyncio.get_running_loop().call_later(DYING_SECONDS, self.finish_namespace, stored.name)
        return answer

    def finish_namespace(self, name):
        if self.store.get("namespaces", name):
            self.store.delete("namespaces", name)

    # What that needs.

    @staticmethod
    def decoded(request, target):
        try:
            obj = json.loads(request.body)
            obj["metadata"]["namespace"] = target.namespace
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(statuses.bad_request(f"the object cannot be decoded: {error!r}")) from error
        return obj | {"kind": target.resource.kind, "apiVersion": target.resource.api_version(target.version)}

    def existing(self, target):
        stored = self.store.get(target.resource.name, "/".join(filter(None, (target.namespace, target.name))))
        if not stored:
            raise Refused(statuses.no_such_object(target.resource, target.name))
        return stored

    def default_service(self, spec):
        """The fields that the API server fills in."""
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        if spec["type"] == "ExternalName":
            return
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec["clusterIP"] = spec.get("clusterIP") or self.free_address()
        spec["clusterIPs"] = spec.get("clusterIPs") or [spec["clusterIP"]]
        spec["ipFamilies"] = spec.get("ipFamilies") or ["IPv4"]
        spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or "SingleStack"

    def free_address(self):
        used = {stored.cluster_ip for stored in self.store.objects["services"].values()}
        while True:
            address = str(SERVICE_RANGE[random.randrange(1, SERVICE_RANGE.num_addresses - 1)])
            if address not in used:
                return address
