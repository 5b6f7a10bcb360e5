#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes N Services of M endpoints each as the lists an API server would serve.

They are shaped like the recorded ones: the same fields in the same order, managedFields included, which are
about half of the bytes. The files, in FOLDER:
    services-list.json
    endpoints-list.json
    endpointslices-v1-list.json     (or -v1beta1-, with --api v1beta1)
    watch-endpointslices.jsonl      with --events E: E MODIFIED events, one endpoint flipped in each
Written as a stream, so memory stays small: 5,000 x 10 gives about 5 + 13 + 21 MB. The mix: 85 % ClusterIP,
10 % NodePort, 3 % LoadBalancer, 2 % headless; 5 % with ClientIP affinity, 3 % with two ports, 5 % UDP.
Endpoints are spread over N*M/100 nodes in three zones; 2 % are not ready. The same arguments give the same
bytes.
"""

import argparse
import json
import os
import random

WRITTEN_AT = "2024-05-01T12:00:00Z"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ZONES = ("zone-a", "zone-b", "zone-c")
SLICE_SIZE = 100
NODE_PORTS = range(30000, 32768)
FIRST_ADDRESS = 256  # within the Service network
VERSIONS = {"services": 1000, "pods": 2000, "endpoints": 3000, "slices": 4000, "lists": 999999,
            "events": 1000000}


def uid(source):
    return (f"{source.getrandbits(32):08x}-{source.getrandbits(16):04x}-4{source.getrandbits(12):03x}"
            f"-8{source.getrandbits(12):03x}-{source.getrandbits(48):012x}")


def managed(manager, api_version, fields):
    return [{"manager": manager, "operation": "Update", "apiVersion": api_version, "time": WRITTEN_AT,
             "fieldsType": "FieldsV1", "fieldsV1": fields}]


def fields(*names, **more):
    """A set of managed fields: names without anything below, and those with."""
    return {f"f:{name}": {} for name in names} | {f"f:{name}": below for name, below in more.items()}


class World:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.nodes = max(3, options.services * options.endpoints // 100)
        self.traits = [self.make_traits(number) for number in range(options.services)]

    def make_traits(self, number):
        """What Services differ in."""
        die = self.random.random()
        kind = ("NodePort" if die < .10 else "LoadBalancer" if die < .13 else "headless" if die < .15
                else "ClusterIP")
        affinity = self.random.random() < .05 and kind != "headless"
        ports = [("http", 80, 8080, "UDP" if self.random.random() < .05 else "TCP")]
        if self.random.random() < .03:
            ports.append(("https", 443, 8443, "TCP"))
        return {"kind": kind, "affinity": affinity, "ports": ports,
                "is_v6": self.random.random() < self.options.v6_share,
                "namespace": f"ns-{number % max(1, self.options.services // 50):03d}",
                "name": f"svc-{number:05d}", "uid": uid(self.random)}

    @staticmethod
    def cluster_ip(number, is_v6):
        """In fd00:10:96::/112 or 10.96.0.0/12."""
        host = number + FIRST_ADDRESS
        if is_v6:
            return f"fd00:10:96::{host:x}"
        return f"10.{96 + (host >> 16)}.{host >> 8 & 255}.{host & 255}"

    def metadata(self, traits, version, managed_fields, name=None, own_uid=None, **optional):
        """Metadata in the order of the API server. A `name` of its own is one that was generated."""
        metadata = {"name": name or traits["name"]}
        if name:
            metadata["generateName"] = traits["name"] + "-"
        metadata |= {"namespace": traits["namespace"], "uid": own_uid or traits["uid"],
                     "resourceVersion": str(version)}
        if "generation" in optional:
            metadata["generation"] = optional.pop("generation")
        metadata |= {"creationTimestamp": WRITTEN_AT} | optional
        if not self.options.no_managed_fields:
            metadata["managedFields"] = managed_fields
        return metadata

    # Services.

    def services(self):
        node_ports = iter(NODE_PORTS)
        for number, traits in enumerate(self.traits):
            ports = [{"name": name, "protocol": protocol, "port": port, "targetPort": target}
                     for name, port, target, protocol in traits["ports"]]
            kind = "ClusterIP" if traits["kind"] == "headless" else traits["kind"]
            if kind != "ClusterIP":
                for port in ports:
                    port["nodePort"] = next(node_ports, None)
                if ports[-1]["nodePort"] is None:  # the range is used up
                    for port in ports:
                        del port["nodePort"]
                    kind = traits["kind"] = "ClusterIP"
            yield self.service(number, traits, kind, ports)

    def service(self, number, traits, kind, ports):
        address = ("None" if traits["kind"] == "headless"
                   else self.cluster_ip(number, traits["is_v6"]))
        spec = {"ports": ports, "selector": {"app": traits["name"]}, "clusterIP": address,
                "clusterIPs": [address], "type": kind,
                "sessionAffinity": "ClientIP" if traits["affinity"] else "None"}
        if traits["affinity"]:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
        if kind != "ClusterIP":
            spec["externalTrafficPolicy"] = "Cluster"
        spec |= {"ipFamilies": ["IPv6" if traits["is_v6"] else "IPv4"], "ipFamilyPolicy": "SingleStack"}
        status = {}
        if kind == "LoadBalancer":
            status["ingress"] = [{"ip": f"203.0.{113 + (number >> 8) % 80}.{number & 255}"}]
        port_fields = {f'k:{{"port":{port},"protocol":"{protocol}"}}':
                       {".": {}} | fields("name", "port", "protocol", "targetPort")
                       for _, port, _, protocol in traits["ports"]}
        managed_fields = managed("kubectl", "v1", fields(
            metadata=fields(labels={".": {}} | fields("app")),
            spec=fields(ports={".": {}} | port_fields, selector={".": {}} | fields("app"))
            | fields("sessionAffinity", "type")))
        return {"metadata": self.metadata(traits, VERSIONS["services"] + number, managed_fields,
                                          labels={"app": traits["name"]}),
                "spec": spec, "status": {"loadBalancer": status}}

    # What is behind them.

    def pod(self, number, endpoint):
        source = random.Random(self.options.seed * 1000003 + number * 1009 + endpoint)
        place, traits = number * self.options.endpoints + endpoint, self.traits[number]
        node = source.randrange(self.nodes)
        if traits["is_v6"]:
            address = f"fd00:10:244:{node:x}::{2 + place:x}"
        else:
            address = f"10.{128 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"
        ready = source.random() >= .02
        name = (f'{traits["name"]}-{number * 2654435761 & 0xffffffff:08x}'
                f"-{source.getrandbits(20):05x}")
        return {"address": address, "node": f"node-{node:04d}", "zone": ZONES[node % 3], "ready": ready,
                "target": {"kind": "Pod", "namespace": traits["namespace"], "name": name, "uid": uid(source),
                           "resourceVersion": str(VERSIONS["pods"] + place)}}

    @staticmethod
    def target_ports(traits):
        return [{"name": name, "port": target, "protocol": protocol}
                for name, _, target, protocol in traits["ports"]]

    def endpoints(self):
        managed_fields = managed("kube-controller-manager", "v1", fields(
            metadata=fields(annotations={".": {}} | fields(TRIGGER_TIME), labels={".": {}} | fields("app")),
            subsets={}))
        for number, traits in enumerate(self.traits):
            pods = [self.pod(number, endpoint) for endpoint in range(self.options.endpoints)]
            subset = {}
            for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                addresses = [{"ip": pod["address"], "nodeName": pod["node"], "targetRef": pod["target"]}
                             for pod in pods if pod["ready"] == ready]
                if addresses:
                    subset[field] = addresses
            subset["ports"] = self.target_ports(traits)
            body = {"metadata": self.metadata(
                traits, VERSIONS["endpoints"] + number, managed_fields, own_uid=uid(self.random),
                labels={"app": traits["name"]}, annotations={TRIGGER_TIME: WRITTEN_AT})}
            yield body | ({"subsets": [subset]} if pods else {})

    def slice_endpoint(self, number, endpoint, flipped):
        pod, is_v1 = self.pod(number, endpoint), self.options.api == "v1"
        ready = pod["ready"] != flipped
        conditions = {"ready": ready} | ({"serving": ready, "terminating": False} if is_v1 else {})
        place = ({"nodeName": pod["node"], "zone": pod["zone"]} if is_v1 else
                 {"topology": {"kubernetes.io/hostname": pod["node"],
                               "topology.kubernetes.io/region": "region-1",
                               "topology.kubernetes.io/zone": pod["zone"]}})
        return {"addresses": [pod["address"]], "conditions": conditions, "targetRef": pod["target"]} | place

    def slice(self, number, first, version, flip=None, generation=1):
        """The slice of a Service's endpoints from `first` on; endpoint `flip` is the other way round."""
        traits, source = self.traits[number], random.Random(number * 31 + first)
        suffix = "".join(source.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
        labels = {"app": traits["name"],
                  "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                  "kubernetes.io/service-name": traits["name"]}
        if traits["kind"] == "headless":
            labels["service.kubernetes.io/headless"] = ""
        owner = {"apiVersion": "v1", "kind": "Service", "name": traits["name"], "uid": traits["uid"],
                 "controller": True, "blockOwnerDeletion": True}
        managed_fields = managed(
            "kube-controller-manager", f"discovery.k8s.io/{self.options.api}",
            fields("addressType", "endpoints", metadata=fields(
                annotations={".": {}} | fields(TRIGGER_TIME), generateName={},
                labels={".": {}} | fields(*labels),
                ownerReferences={".": {}, f'k:{{"uid":"{traits["uid"]}"}}': {".": {}} | fields(*sorted(owner))}))
            | fields("ports"))
        last = min(first + SLICE_SIZE, self.options.endpoints)
        return {"metadata": self.metadata(
                    traits, version, managed_fields, f'{traits["name"]}-{suffix}', uid(source),
                    generation=generation, labels=labels, annotations={TRIGGER_TIME: WRITTEN_AT},
                    ownerReferences=[owner]),
                "addressType": "IPv6" if traits["is_v6"] else "IPv4",
                "endpoints": [self.slice_endpoint(number, endpoint, endpoint == flip)
                              for endpoint in range(first, last)],
                "ports": self.target_ports(traits)}

    def slices(self):
        version = VERSIONS["slices"]
        for number in range(self.options.services):
            for first in range(0, max(1, self.options.endpoints), SLICE_SIZE):
                version += 1
                yield self.slice(number, first, version)

    def events(self):
        source, generations = random.Random(self.options.seed + 1), {}
        version = VERSIONS["events"]
        for _ in range(self.options.events):
            number, endpoint = (source.randrange(self.options.services),
                                source.randrange(self.options.endpoints))
            first = endpoint // SLICE_SIZE * SLICE_SIZE
            generations[number, first] = generations.get((number, first), 1) + 1
            version += 1 + source.randrange(3)
            yield {"type": "MODIFIED", "object": {
                "kind": "EndpointSlice", "apiVersion": f"discovery.k8s.io/{self.options.api}",
                **self.slice(number, first, version, endpoint, generations[number, first])}}


def write_list(path, kind, api_version, items):
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        head = {"kind": kind, "apiVersion": api_version,
                "metadata": {"resourceVersion": str(VERSIONS["lists"])}}
        file.write(json.dumps(head, separators=(",", ":"))[:-1] + ',"items":[')
        for item in items:
            file.write(("," if count else "") + json.dumps(item, separators=(",", ":")))
            count += 1
        file.write("]}\n")
    print(f"{path}: {count} items, {os.path.getsize(path)} bytes")


def write_events(path, events):
    with open(path, "w", encoding="utf-8") as file:
        for event in events:
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
    print(f"{path}: {os.path.getsize(path)} bytes")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", type=int, metavar="N")
    parser.add_argument("endpoints", type=int, metavar="M")
    parser.add_argument("folder", nargs="?", default=".")
    parser.add_argument("--v6-share", type=float, default=0)
    parser.add_argument("--api", choices=["v1", "v1beta1"], default="v1")
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--no-managed-fields", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    options = arguments()
    os.makedirs(options.folder, exist_ok=True)
    world = World(options)
    write_list(os.path.join(options.folder, "services-list.json"), "ServiceList", "v1", world.services())
    write_list(os.path.join(options.folder, "endpoints-list.json"), "EndpointsList", "v1", world.endpoints())
    write_list(os.path.join(options.folder, f"endpointslices-{options.api}-list.json"), "EndpointSliceList",
               f"discovery.k8s.io/{options.api}", world.slices())
    if options.events:
        write_events(os.path.join(options.folder, "watch-endpointslices.jsonl"), world.events())


if __name__ == "__main__":
    main()
