# SPDX-License-Identifier: BSD-2-Clause
"""What the kernel needs for the same Services as rules, shaped as kube-proxy's nftables and iptables modes
shape them: ClusterIPs only, without node ports, affinity and source ranges, so rather fewer than it would write.
"""

import os
import resource
import shutil
import subprocess
import time
import zlib

SPARE = "10.255.0.1"  # whoever takes the place of an endpoint; in no list
POD_RANGE = "10.128.0.0/9"


def endpoint_hash(port, address):
    return f"{zlib.crc32(f'{port.key}{address}'.encode()) & 0xffffffff:08X}"


def replaced(port):
    """The same port, the endpoint in the middle of its list replaced by another."""
    backends = list(port.backends)
    middle = len(backends) // 2
    backends[middle:middle + 1] = [(SPARE, port.backends[middle][1])]
    return backends, port.backends[middle]


class Nftables:
    """A verdict map of all service ports, a chain for each, a chain for each endpoint."""

    name = "nft -f"

    @staticmethod
    def command(program, path):
        return [program, "-f", path]

    change_command = command

    @staticmethod
    def program():
        return shutil.which("nft")

    @staticmethod
    def service_chain(port):
        return f"service-{port.hash}-{port.key.replace(':', '/')}/{port.protocol}"

    @staticmethod
    def endpoint_chain(port, address):
        return f"endpoint-{endpoint_hash(port, address)}-{port.key.replace(':', '/')}/{port.protocol}"

    def balance(self, port, backends):
        chains = ", ".join(f"{number} : goto {self.endpoint_chain(port, backend)}"
                           for number, backend in enumerate(backends))
        return f"numgen random mod {len(backends)} vmap {{ {chains} }}"

    def endpoint(self, port, backend):
        chain = self.endpoint_chain(port, backend)
        yield f"add chain ip kube-proxy {chain}"
        yield f"add rule ip kube-proxy {chain} ip saddr {backend[0]} jump mark-for-masquerade"
        yield f"add rule ip kube-proxy {chain} meta l4proto {port.protocol} dnat to {backend[0]}:{backend[1]}"

    def service(self, port, backends):
        chain = self.service_chain(port)
        yield (f"add rule ip kube-proxy {chain} ip daddr {port.vip} {port.protocol} dport {port.number} "
               f"ip saddr != {POD_RANGE} jump mark-for-masquerade")
        yield f"add rule ip kube-proxy {chain} {self.balance(port, backends)}"

    def write(self, ports, file):
        file.write("""add table ip kube-proxy
add chain ip kube-proxy mark-for-masquerade
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
add chain ip kube-proxy services
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add rule ip kube-proxy nat-prerouting jump services
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add rule ip kube-proxy nat-output jump services
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
""")
        for port in ports:
            if not port.backends:
                continue
            file.write(f"add chain ip kube-proxy {self.service_chain(port)}\n")
            for backend in port.backends:
                file.writelines(f"{line}\n" for line in self.endpoint(port, backend))
            file.writelines(f"{line}\n" for line in self.service(port, port.backends))
            file.write(f"add element ip kube-proxy service-ips {{ {port.vip} . {port.protocol} . {port.number} "
                       f": goto {self.service_chain(port)} }}\n")
        file.write("add rule ip kube-proxy services "
                   "ip daddr . meta l4proto . th dport vmap @service-ips\n")

    def write_change(self, port, file):
        backends, gone = replaced(port)
        chain, old = self.service_chain(port), self.endpoint_chain(port, gone)
        file.writelines(f"{line}\n" for line in [
            *self.endpoint(port, (SPARE, gone[1])),
            f"flush chain ip kube-proxy {chain}", *self.service(port, backends),
            f"flush chain ip kube-proxy {old}", f"delete chain ip kube-proxy {old}"])


class Iptables:
    """KUBE-SERVICES with a rule for each service port, KUBE-SVC-* with one for each endpoint, KUBE-SEP-*."""

    def __init__(self):
        found = next(filter(shutil.which, ("iptables-nft-restore", "iptables-legacy-restore")), None)
        self.name = found or "iptables-restore"

    def program(self):
        return shutil.which(self.name)

    @staticmethod
    def command(program, path):
        return [program, path]

    @staticmethod
    def change_command(program, path):
        return [program, "--noflush", path]

    @staticmethod
    def service_chain(port):
        return f"KUBE-SVC-{port.hash}{port.hash}"

    @staticmethod
    def endpoint_chain(port, backend):
        return f"KUBE-SEP-{endpoint_hash(port, backend)}{port.hash}"

    def service(self, port, backends):
        chain, comment = self.service_chain(port), f'-m comment --comment "{port.key}'
        yield (f"-A {chain} {comment} cluster IP\" -m {port.protocol} -p {port.protocol} -d {port.vip} "
               f"--dport {port.number} ! -s {POD_RANGE} -j KUBE-MARK-MASQ")
        for number, backend in enumerate(backends):
            left = len(backends) - number
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            yield (f"-A {chain} {comment} -> {backend[0]}:{backend[1]}\" {chance}"
                   f"-j {self.endpoint_chain(port, backend)}")

    def endpoint(self, port, backend):
        chain, comment = self.endpoint_chain(port, backend), f'-m comment --comment "{port.key}"'
        yield f"-A {chain} {comment} -s {backend[0]} -j KUBE-MARK-MASQ"
        yield (f"-A {chain} {comment} -m {port.protocol} -p {port.protocol} "
               f"-j DNAT --to-destination {backend[0]}:{backend[1]}")

    def write(self, ports, file):
        ports = [port for port in ports if port.backends]
        file.write("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n")
        for port in ports:
            file.write(f":{self.service_chain(port)} - [0:0]\n")
            file.writelines(f":{self.endpoint_chain(port, backend)} - [0:0]\n" for backend in port.backends)
        file.write("-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n"
                   "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n")
        for port in ports:
            file.write(f"-A KUBE-SERVICES -m comment --comment \"{port.key} cluster IP\" -m {port.protocol} "
                       f"-p {port.protocol} -d {port.vip} --dport {port.number} -j {self.service_chain(port)}\n")
        for port in ports:
            file.writelines(f"{line}\n" for line in self.service(port, port.backends))
            for backend in port.backends:
                file.writelines(f"{line}\n" for line in self.endpoint(port, backend))
        file.write("COMMIT\n")

    def write_change(self, port, file):
        backends, gone = replaced(port)
        new = (SPARE, gone[1])
        file.write(f"*nat\n:{self.service_chain(port)} - [0:0]\n:{self.endpoint_chain(port, new)} - [0:0]\n"
                   f":{self.endpoint_chain(port, gone)} - [0:0]\n")
        file.writelines(f"{line}\n" for line in [*self.service(port, backends), *self.endpoint(port, new)])
        file.write(f"-X {self.endpoint_chain(port, gone)}\nCOMMIT\n")


def timed(netns, command, limit):
    """(seconds of wall clock or None where `limit` was not enough, seconds of CPU)."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        done = subprocess.run(["nsenter", f"--net=/run/netns/{netns}", *map(str, command)], capture_output=True,
                              text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return None, limit
    took, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[:500]}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rules, shape, ports, limit):
    """Seconds for all of a shape, and for one changed endpoint after that, in a namespace of its own."""
    program, netns = rules.program(), f"fl-rules-{os.getpid()}"
    if not program:
        return {"missing": True}
    path = shape.folder / "rules"
    changeable = [port for port in ports if port.backends]
    subprocess.run(["ip", "netns", "add", netns], check=True)
    try:
        with open(path, "w", encoding="ascii") as file:
            rules.write(ports, file)
        full, cpu = timed(netns, rules.command(program, path), limit)
        result = {"full_s": full, "full_cpu_s": cpu, "bytes": path.stat().st_size, "limit_s": limit}
        if full is not None:
            with open(path, "w", encoding="ascii") as file:
                rules.write_change(changeable[len(changeable) // 2], file)
            result["change_s"], _ = timed(netns, rules.change_command(program, path), limit)
        return result
    finally:
        subprocess.run(["ip", "netns", "delete", netns], check=True)
        path.unlink(missing_ok=True)
