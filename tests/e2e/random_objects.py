# SPDX-License-Identifier: BSD-2-Clause
"""Random changes of a cluster's objects, the same for the same seed.

Every change goes straight to an API server. What a change is made to is chosen among what is there, so
that all that a Service may become is reached from all that it may have been.
"""

import copy
import ipaddress

import manifests
from manifests import service, service_port, slice_

NAMESPACES = ("default", "shop", "kube-system")
ZONES = ("a", "b", "c")
NODES_OF_ENDPOINTS = ("node1", "node2", None)
PORT_NAMES = ("web", "dns", "metrics", "")
PROXY_LABELS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
POLICIES = ("Cluster", "Local")
MANY = 60  # Services of the random kind; more of them are rather deleted
FEW_ADDRESSES = 90  # ClusterIPs of each family, so that they are used again and again
FEW_NODE_PORTS = range(30000, 30250)

# What no API server would store, but an agent of another release may have to read.
BAD_SERVICES = (
    lambda spec: spec.update(clusterIP="10.96.0.300", clusterIPs=["10.96.0.300"]),
    lambda spec: spec.update(ports="http"),
    lambda spec: spec.update(ports=[{"name": "web", "port": 70000}]),
    lambda spec: spec.update(type="Teleport"),
    lambda spec: spec.update(internalTrafficPolicy="Sometimes"),
    lambda spec: spec.update(sessionAffinity=7),
)
BAD_SLICES = (
    lambda made: made.update(addressType="IPv5"),
    lambda made: made.update(endpoints={"addresses": []}),
    lambda made: made.update(ports=[{"name": "web", "port": "http"}]),
    lambda made: made["endpoints"].append({"addresses": ["10.244.9.999"]}),
    lambda made: made["endpoints"].append("10.244.9.1"),
)


def key_of(obj):
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def node_ports_of(obj):
    ports = obj["spec"].get("ports")
    return {port["nodePort"] for port in ports if "nodePort" in port} if isinstance(ports, list) else set()


def backend_address(number, family):
    """Nobody is there: these Services are for the maps only."""
    return f"10.244.9.{number}" if family == 4 else f"fd00:244:9::{number:x}"


class RandomObjects:
    """Changes by chance. `keep` names Services ("namespace/name") that are not to be touched."""

    def __init__(self, chance, server, keep=()):
        self.chance, self.server, self.keep = chance, server, set(keep)
        self.count = 0
        self.services, self.slices, self.lost = {}, {}, []
        self.kinds = (
            (12, self.add_service), (8, self.delete_service), (4, self.replace_service),
            (18, self.change_service), (10, self.add_slice), (8, self.delete_slice),
            (30, self.change_slice), (6, self.move_endpoint), (3, self.relabel_slice),
            (2, self.change_node), (1, self.change_other_node), (1, self.change_service_cidr),
            (2, self.break_service), (2, self.break_slice), (1, self.return_lost),
        )

    def change(self):
        """Makes one change."""
        weights, changes = zip(*self.kinds)
        self.chance.choices(changes, weights)[0]()

    def put(self, obj):
        self.count += 1
        known = self.services if obj["kind"] == "Service" else self.slices
        known[key_of(obj)] = obj
        self.server.put(obj)

    def delete(self, known, key):
        self.count += 1
        del known[key]
        resource = "services" if known is self.services else "endpointslices"
        self.server.delete(resource, key[1], key[0])

    def learn(self):
        """After the server has lost objects: what is left of ours. The others may come back later."""
        for resource, known in (("services", self.services), ("endpointslices", self.slices)):
            there = {key_of(obj) for obj in self.server.objects(resource)}
            for key in [key for key in known if key not in there]:
                self.lost.append(known.pop(key))

    def return_lost(self):
        """Some of what was lost comes back, if its name and its addresses are still free."""
        lost, self.lost = self.lost, []
        for obj in lost:
            known = self.services if obj["kind"] == "Service" else self.slices
            if key_of(obj) in known:
                continue
            if obj["kind"] == "Service" and (set(obj["spec"].get("clusterIPs", ())) & self.addresses()
                                             or node_ports_of(obj) & self.node_ports()):
                continue
            self.put(obj)

    # Services.

    def addresses(self):
        """ClusterIPs in use: the API server gives each to one Service."""
        return {vip for obj in self.services.values() for vip in obj["spec"].get("clusterIPs", ())
                if vip != "None"}

    def node_ports(self):
        """NodePorts in use: the API server gives each to one Service."""
        return {port for obj in self.services.values() for port in node_ports_of(obj)}

    def free_vip(self, family):
        used = self.addresses()
        base = "10.96.8.0" if family == 4 else "fd00:96::8000"
        free = [vip for vip in (str(ipaddress.ip_address(base) + number)
                                for number in range(1, FEW_ADDRESSES)) if vip not in used]
        return self.chance.choice(free) if free else manifests.next_vip(family)

    def random_ports(self):
        names = self.chance.sample(PORT_NAMES, self.chance.randint(1, 3))
        made = []
        for name in names:
            protos = self.chance.choice((["TCP"], ["UDP"], ["TCP", "UDP"], ["SCTP"]))
            number = self.chance.choice((53, 80, 443, 8443))
            for proto in protos:
                if not any((port["port"], port["protocol"]) == (number, proto) for port in made):
                    made.append(service_port(number, proto, name, self.chance.choice((8080, name or 81))))
        return made

    def random_service(self, namespace, name):
        chance = self.chance
        kind = chance.choice(("ClusterIP",) * 6 + ("NodePort", "LoadBalancer", "ExternalName", "None"))
        labels = {chance.choice(PROXY_LABELS): chance.choice(("", "other"))} if chance.random() < 0.1 else {}
        labels |= {"app": chance.choice("xyz")} if chance.random() < 0.3 else {}
        if kind == "ExternalName":
            made = service(name, ["None"], namespace=namespace, labels=labels)
            made["spec"] = {"type": kind, "externalName": "example.com"}
            return made
        if kind == "None":
            return service(name, ["None"], self.random_ports(), namespace, labels)
        families = chance.choice(((4,), (4,), (6,), (4, 6), (6, 4)))
        made = service(name, [self.free_vip(family) for family in families], self.random_ports(), namespace,
                       labels, type=kind)
        if kind != "ClusterIP":
            self.give_node_ports(made["spec"])
        self.random_policies(made["spec"])
        return made

    def give_node_ports(self, spec):
        used = self.node_ports()
        free = [port for port in FEW_NODE_PORTS if port not in used]
        for port, number in zip(spec["ports"], self.chance.sample(free, len(spec["ports"]))):
            port["nodePort"] = number
        spec["externalTrafficPolicy"] = self.chance.choice(POLICIES)

    def random_policies(self, spec):
        chance = self.chance
        spec["internalTrafficPolicy"] = chance.choice(("Cluster", "Cluster", "Local"))
        spec["publishNotReadyAddresses"] = chance.random() < 0.1
        spec["sessionAffinity"] = chance.choice(("None", "None", "ClientIP"))
        spec.pop("sessionAffinityConfig", None)
        if spec["sessionAffinity"] == "ClientIP" and chance.random() < 0.7:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": chance.randint(1, 86400)}}

    def some_service(self):
        """One of the random kind, or None."""
        names = sorted(key for key in self.services if "/".join(key) not in self.keep)
        return self.services[self.chance.choice(names)] if names else None

    def add_service(self):
        if len(self.services) >= MANY + len(self.keep):
            return self.delete_service()
        key = self.chance.choice(NAMESPACES), f"svc-{self.chance.randint(0, 3 * MANY)}"
        if key in self.services:
            return self.change_service()
        made = self.random_service(*key)
        slices_first = self.chance.random() < 0.3
        if not slices_first:
            self.put(made)
        for _ in range(self.chance.randint(0, 3)):
            self.put(self.random_slice(made))
        if slices_first:
            self.put(made)

    def delete_service(self):
        """With its slices before, after, or not at all."""
        found = self.some_service()
        if not found:
            return
        slices = self.slices_of(key_of(found)) if self.chance.random() < 0.7 else []
        keys = [(self.services, key_of(found)), *((self.slices, key) for key in slices)]
        if self.chance.random() < 0.5:
            keys.reverse()
        for known, key in keys:
            self.delete(known, key)

    def replace_service(self):
        """Deleted and made anew at once, with the same name."""
        found = self.some_service()
        if found:
            self.delete(self.services, key_of(found))
            self.put(self.random_service(*key_of(found)))

    def change_service(self):
        found = self.some_service()
        if not found:
            return
        made = copy.deepcopy(found)
        spec, metadata = made["spec"], made["metadata"]
        what = self.chance.choice(("ports", "policies", "labels", "kind", "nothing", "port"))
        if what == "ports" and spec.get("ports"):
            spec["ports"] = self.random_ports()
        elif what == "port" and isinstance(spec.get("ports"), list):
            spec["ports"][0]["port"] = self.chance.randint(1, 65535)
        elif what == "policies":
            self.random_policies(spec)
        elif what == "labels":
            label = self.chance.choice(PROXY_LABELS)
            labels = metadata.setdefault("labels", {})
            if labels.pop(label, None) is None:
                labels[label] = "other"
        elif what == "kind":
            made["spec"] = self.random_service(metadata["namespace"], metadata["name"])["spec"]
        self.put(made)

    # EndpointSlices.

    def slices_of(self, key):
        return sorted(slice_key for slice_key, made in self.slices.items()
                      if slice_key[0] == key[0]
                      and made["metadata"]["labels"].get("kubernetes.io/service-name") == key[1])

    def some_slice(self):
        names = sorted(key for key, made in self.slices.items() if self.owner(made) not in self.keep)
        return self.slices[self.chance.choice(names)] if names else None

    @staticmethod
    def owner(made):
        metadata = made["metadata"]
        return f"{metadata['namespace']}/{metadata['labels'].get('kubernetes.io/service-name')}"

    def random_endpoint(self, family):
        """The node is the address's, everything else is chance."""
        chance = self.chance
        number = chance.randint(1, 40)
        made = {"addresses": [backend_address(number, family)]}
        if chance.random() < 0.9:
            made["conditions"] = chance.choice((
                {"ready": True}, {"ready": True}, {"ready": True, "serving": True, "terminating": False},
                {"ready": False}, {"ready": False, "serving": True, "terminating": True},
                {"ready": False, "serving": False, "terminating": True},
                {"ready": False, "serving": True, "terminating": False}, {"ready": None}))
        node = NODES_OF_ENDPOINTS[number % 3]
        if node:
            made["nodeName"] = node
        if chance.random() < 0.4:
            made["hints"] = {"forZones": [{"name": zone}
                                          for zone in chance.sample(ZONES, chance.randint(1, 2))]}
        if chance.random() < 0.1:
            made.setdefault("hints", {})["forNodes"] = [{"name": chance.choice(("node1", "node2"))}]
        return made

    def random_endpoints(self, family):
        return [self.random_endpoint(family) for _ in range(self.chance.choice((0, 1, 1, 2, 3, 8, 20)))]

    def random_slice_ports(self, owner):
        """Mostly those of the Service, with numbers of the slice's own."""
        ports = owner["spec"].get("ports") or [service_port(80, "TCP", "web")]
        if not isinstance(ports, list):
            ports = []
        made = [{"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"),
                 "port": self.chance.choice((8080, 8080, 8081))} for port in ports]
        if made and self.chance.random() < 0.1:
            made.pop()
        if made and self.chance.random() < 0.05:
            made[0]["port"] = None
        return made

    def random_slice(self, owner):
        chance = self.chance
        families = {ipaddress.ip_address(vip).version for vip in owner["spec"].get("clusterIPs", ())
                    if vip[0] in "1f" and not vip.endswith("300")}
        family = chance.choice(sorted(families) or [4])
        namespace, name = key_of(owner)
        made = slice_(name, self.random_endpoints(family), self.random_slice_ports(owner), family,
                      f"{name}-{chance.getrandbits(20):05x}", namespace)
        if chance.random() < 0.03:
            made["metadata"]["labels"][chance.choice(PROXY_LABELS)] = "other"
        if chance.random() < 0.02:
            made |= {"addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]}
        return made

    def add_slice(self):
        found = self.some_service()
        if found and len(self.slices_of(key_of(found))) < 5:
            self.put(self.random_slice(found))

    def delete_slice(self):
        found = self.some_slice()
        if found:
            self.delete(self.slices, key_of(found))

    def change_slice(self):
        found = self.some_slice()
        if not found or found["addressType"] not in ("IPv4", "IPv6"):
            return
        made, chance = copy.deepcopy(found), self.chance
        family, endpoints = int(made["addressType"][3]), made["endpoints"]
        what = chance.choice(("all", "add", "drop", "one", "none", "ports", "order"))
        if not isinstance(endpoints, list) or what == "all":
            made["endpoints"] = self.random_endpoints(family)
        elif what == "add" or not endpoints:
            endpoints.insert(chance.randint(0, len(endpoints)), self.random_endpoint(family))
        elif what == "drop":
            endpoints.pop(chance.randrange(len(endpoints)))
        elif what == "one":
            endpoints[chance.randrange(len(endpoints))] = self.random_endpoint(family)
        elif what == "none":
            made["endpoints"] = chance.choice(([], None))
        elif what == "ports":
            owner = self.services.get((key_of(made)[0], self.owner(made).partition("/")[2]))
            made["ports"] = self.random_slice_ports(owner) if owner else made["ports"][:1]
        else:
            chance.shuffle(endpoints)
        self.put(made)

    def move_endpoint(self):
        """From one slice of a Service to another, which for a moment both or neither have."""
        found = self.some_service()
        keys = self.slices_of(key_of(found)) if found else []
        slices = [copy.deepcopy(self.slices[key]) for key in keys]
        slices = [made for made in slices if made["endpoints"] and isinstance(made["endpoints"], list)]
        if len(slices) < 2:
            return
        source, target = self.chance.sample(slices, 2)
        if source["addressType"] != target["addressType"]:
            return
        target["endpoints"].append(source["endpoints"].pop())
        for made in self.chance.sample([source, target], 2):
            self.put(made)

    def relabel_slice(self):
        """It goes over to another Service, or to none."""
        found, owner = self.some_slice(), self.some_service()
        if not found or not owner:
            return
        made = copy.deepcopy(found)
        labels = made["metadata"]["labels"]
        if self.chance.random() < 0.2:
            labels.pop("kubernetes.io/service-name", None)
        elif key_of(owner)[0] == made["metadata"]["namespace"]:
            labels["kubernetes.io/service-name"] = key_of(owner)[1]
        else:
            for label in PROXY_LABELS:
                labels.pop(label, None)
        self.put(made)

    # The rest.

    def change_node(self):
        self.count += 1
        self.server.put(manifests.zoned_node("node1", self.chance.choice(ZONES)))

    def change_other_node(self):
        self.count += 1
        self.server.put(manifests.zoned_node("node2", self.chance.choice(ZONES)))

    def change_service_cidr(self):
        self.count += 1
        name = self.chance.choice(("first", "second"))
        if self.server.get("servicecidrs", name) and self.chance.random() < 0.5:
            self.server.delete("servicecidrs", name)
        else:
            self.server.put({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                             "metadata": {"name": name},
                             "spec": {"cidrs": [self.chance.choice(("10.96.0.0/16", "fd00:96::/112"))]}})

    def break_service(self):
        found = self.some_service()
        if found:
            made = copy.deepcopy(found)
            self.chance.choice(BAD_SERVICES)(made["spec"])
            self.put(made)

    def break_slice(self):
        found = self.some_slice()
        if found and isinstance(found["endpoints"], list):
            made = copy.deepcopy(found)
            self.chance.choice(BAD_SLICES)(made)
            self.put(made)
