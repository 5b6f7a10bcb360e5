/* SPDX-License-Identifier: BSD-2-Clause */
#include "words/words.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define word_of(table, number)                                                              \
	((number) < sizeof(table) / sizeof((table)[0]) && (table)[number] ? (table)[number] \
									  : "unknown")

const char *service_type_word(__u8 type)
{
	static const char *const words[] = {
		[SERVICE_TYPE_CLUSTER_IP] = "ClusterIP",
		[SERVICE_TYPE_NODE_PORT] = "NodePort",
		[SERVICE_TYPE_LOAD_BALANCER] = "LoadBalancer",
		[SERVICE_TYPE_EXTERNAL_NAME] = "ExternalName",
	};

	return word_of(words, type);
}

const char *frontend_kind_word(__u8 kind)
{
	static const char *const words[] = {
		[FRONTEND_CLUSTER_IP] = "ClusterIP",
		[FRONTEND_NODE_PORT] = "NodePort",
		[FRONTEND_EXTERNAL_IP] = "ExternalIP",
		[FRONTEND_LOAD_BALANCER_IP] = "LoadBalancer",
	};

	return word_of(words, kind);
}

const char *backend_state_word(__u8 state, __u32 flags)
{
	static const char *const words[] = {
		[BACKEND_FREE] = "free",
		[BACKEND_ACTIVE] = "active",
		[BACKEND_DRAINING] = "draining",
		[BACKEND_DEAD] = "dead",
	};

	if (state == BACKEND_DRAINING && flags & BACKEND_UNUSED)
		return "unused";
	return word_of(words, state);
}

const char *flow_state_word(__u8 state)
{
	static const char *const words[] = {
		[FLOW_NEW] = "new",
		[FLOW_REPLIED] = "replied",
		[FLOW_ESTABLISHED] = "established",
		[FLOW_CLOSING] = "closing",
		[FLOW_CLOSED] = "closed",
	};

	return word_of(words, state);
}

const char *link_role_word(__u8 role)
{
	static const char *const words[] = {
		[LINK_IGNORED] = "ignored",
		[LINK_POD] = "pod",
		[LINK_UPLINK] = "uplink",
		[LINK_OVERLAY] = "overlay",
	};

	return word_of(words, role);
}

const char *link_hook_word(__u8 hook)
{
	static const char *const words[] = {
		[LINK_HOOK_NONE] = "none",
		[LINK_HOOK_TCX] = "tcx",
		[LINK_HOOK_CLSACT] = "clsact",
		[LINK_HOOK_FAILED] = "failed",
	};

	return word_of(words, hook);
}

const char *link_doubt_sentence(__u8 doubt)
{
	static const char *const sentences[] = {
		[LINK_DOUBT_NONE] = "",
		[LINK_DOUBT_NETWORK] = "the node has an address there, in a network with others",
		[LINK_DOUBT_DEFAULT_ROUTE] = "a default route leads to it",
	};

	return word_of(sentences, doubt);
}

static const char *const unprogrammed_words[] = {
	[UNPROGRAMMED_HEADLESS] = "headless",
	[UNPROGRAMMED_EXTERNAL_NAME] = "external-name",
	[UNPROGRAMMED_NO_CLUSTER_IP] = "no-cluster-ip",
	[UNPROGRAMMED_OTHER_PROXY] = "other-proxy",
	[UNPROGRAMMED_LOCAL_ADDRESS] = "local-address",
	[UNPROGRAMMED_MAP_FULL] = "map-full",
	[UNPROGRAMMED_PROTOCOL] = "protocol",
	[UNPROGRAMMED_NO_PORTS] = "no-ports",
	[UNPROGRAMMED_TAKEN] = "taken",
};

const char *link_xdp_word(__u8 xdp)
{
	static const char *const words[] = {
		[LINK_XDP_NONE] = "none",       [LINK_XDP_NATIVE] = "native",
		[LINK_XDP_GENERIC] = "generic", [LINK_XDP_OFF] = "off",
		[LINK_XDP_VIRTUAL] = "off",     [LINK_XDP_OTHER] = "off",
		[LINK_XDP_FAILED] = "off",      [LINK_XDP_NO_PROGRAM] = "off",
		[LINK_XDP_NO_PEER] = "off",
	};

	return word_of(words, xdp);
}

const char *link_xdp_reason(__u8 xdp)
{
	static const char *const reasons[] = {
		[LINK_XDP_NONE] = "",
		[LINK_XDP_NATIVE] = "",
		[LINK_XDP_GENERIC] = "",
		[LINK_XDP_OFF] = "switched off",
		[LINK_XDP_VIRTUAL] = "no hardware is behind the link",
		[LINK_XDP_OTHER] = "another program is there",
		[LINK_XDP_FAILED] = "the driver does not take the program",
		[LINK_XDP_NO_PROGRAM] = "the kernel does not take the program",
		[LINK_XDP_NO_PEER] = "the link's peer takes no frames: switch GRO on there",
	};

	return word_of(reasons, xdp);
}

const char *unprogrammed_word(__u32 reason)
{
	return word_of(unprogrammed_words, reason);
}

bool unprogrammed_is_known(__u32 reason)
{
	return reason < sizeof(unprogrammed_words) / sizeof(unprogrammed_words[0]) &&
	       unprogrammed_words[reason];
}

const char *family_word(__u8 family)
{
	return family == FAMILY_IPV4 ? "IPv4" : family == FAMILY_IPV6 ? "IPv6" : "";
}

const char *counter_word(__u32 reason)
{
	static const char *const words[] = {
#define X(reason, field, name, sentence) name,
		FAIRLEAD_COUNTERS(X)
#undef X
	};

	return word_of(words, reason);
}

const char *counter_sentence(__u32 reason)
{
	static const char *const sentences[] = {
#define X(reason, field, name, sentence) sentence,
		FAIRLEAD_COUNTERS(X)
#undef X
	};

	return word_of(sentences, reason);
}

const char *unprogrammed_sentence(const struct unprogrammed *value, char buf[SENTENCE_SIZE])
{
	char detail[sizeof(value->detail) + 1];

	(void)text_of_array(value->detail, detail);
	switch (value->reason) {
	case UNPROGRAMMED_HEADLESS:
		(void)snprintf(buf, SENTENCE_SIZE, "headless: nothing to program");
		break;
	case UNPROGRAMMED_EXTERNAL_NAME:
		(void)snprintf(buf, SENTENCE_SIZE,
			       "ExternalName: nothing to program, DNS answers for it");
		break;
	case UNPROGRAMMED_NO_CLUSTER_IP:
		(void)snprintf(buf, SENTENCE_SIZE, "%s%s",
			       *detail ? "it has no clusterIP: "
				       : "the API server has not given it a ClusterIP",
			       detail);
		break;
	case UNPROGRAMMED_OTHER_PROXY:
		(void)snprintf(buf, SENTENCE_SIZE,
			       "label service.kubernetes.io/service-proxy-name=%s: another proxy's",
			       detail);
		break;
	case UNPROGRAMMED_LOCAL_ADDRESS:
		(void)snprintf(buf, SENTENCE_SIZE, "its address is assigned to link %s: left alone",
			       *detail ? detail : "of this node");
		break;
	case UNPROGRAMMED_MAP_FULL:
		(void)snprintf(buf, SENTENCE_SIZE, "no room: %s",
			       *detail ? detail : "a map is full");
		break;
	case UNPROGRAMMED_PROTOCOL:
		(void)snprintf(buf, SENTENCE_SIZE, "its protocol%s%s is not served",
			       *detail ? " " : "", detail);
		break;
	case UNPROGRAMMED_NO_PORTS:
		(void)snprintf(buf, SENTENCE_SIZE, "it has no ports");
		break;
	case UNPROGRAMMED_TAKEN:
		(void)snprintf(buf, SENTENCE_SIZE, "taken: %s",
			       *detail ? detail : "another Service has its address");
		break;
	default:
		(void)snprintf(buf, SENTENCE_SIZE,
			       "not programmed, for reason %u that this version of "
			       "fairlead does not know",
			       value->reason);
	}
	return buf;
}

enum service_verdict service_verdict(const struct service *service)
{
	const struct slot_range *slots = service->flags & SERVICE_INTERNAL_LOCAL
						 ? &service->local_slots
						 : &service->cluster_slots;

	if (slots->count)
		return VERDICT_PROGRAMMED;
	return slots->first == EMPTY_DROP ? VERDICT_DROP : VERDICT_REFUSE;
}

const char *service_verdict_word(enum service_verdict verdict)
{
	static const char *const words[] = {
		[VERDICT_PROGRAMMED] = "programmed",
		[VERDICT_REFUSE] = "refuse",
		[VERDICT_DROP] = "drop",
	};

	return word_of(words, verdict);
}

const char *service_verdict_sentence(enum service_verdict verdict)
{
	static const char *const sentences[] = {
		[VERDICT_PROGRAMMED] = "programmed",
		[VERDICT_REFUSE] = "refuse: no usable endpoint",
		[VERDICT_DROP] = "drop: policy Local and no endpoint on this node",
	};

	return word_of(sentences, verdict);
}

const struct degraded_words degraded_words[] = {
	{DEGRADED_NO_TCX, false, "no-tcx",
	 "tcx is missing (Linux 6.6) or switched off: clsact filters are used instead; whoever "
	 "replaces a link's clsact qdisc removes them"},
	{DEGRADED_NO_RETVAL, false, "no-retval",
	 "bpf_set_retval is missing (Linux 5.18): a refused connect() fails with EPERM, not "
	 "ECONNREFUSED"},
	{DEGRADED_NO_NETNS_COOKIE, false, "no-netns-cookie",
	 "SO_NETNS_COOKIE is missing (Linux 5.14): processes of this node cannot be told from those "
	 "of pods, so NodePorts are not served at loopback addresses, and processes may take them"},
	{DEGRADED_NO_MTU, false, "no-mtu",
	 "bpf_check_mtu is missing (Linux 5.12): clients outside hear nothing of a packet that is "
	 "too large for the route to a backend on another node"},
	{DEGRADED_NO_TIMER, false, "no-timer",
	 "bpf_timer is missing (Linux 5.15): flows that have ended stay in the flow table until "
	 "others are established"},
	{DEGRADED_NO_SOCKET_HOOKS, false, "no-socket-hooks",
	 "socket hooks are switched off or could not be attached: processes of this node and its "
	 "pods are translated packet by packet, which costs them time"},
	{DEGRADED_NO_TC_HOOKS, true, "no-tc-hooks",
	 "TC hooks are switched off: only sockets on this node reach Services; virtual machines, "
	 "forwarded and raw packets do not"},
	{DEGRADED_NO_SOCKET_DESTROY, false, "no-socket-destroy",
	 "the kernel cannot close other processes' sockets (CONFIG_INET_DIAG_DESTROY): a "
	 "connected UDP socket stays on a backend that has left until its program connects anew"},
	{DEGRADED_MAP_FULL, true, "map-full",
	 "a map is full: some service ports are not programmed or not up to date; `fairlead "
	 "services` names them and the option that makes room"},
	{DEGRADED_LINK_FAILED, true, "link-failed",
	 "a link has no hook: packets of clients behind it do not reach Services; `fairlead "
	 "links` says which and why"},
	{DEGRADED_SOURCE_AWAY, true, "source-unreachable",
	 "the source cannot be reached, or was away and is being read again: Services work as "
	 "they were last known, changes are not followed; the agent's log and /readyz?verbose "
	 "say why"},
	{DEGRADED_NO_BIND_HOOKS, false, "no-bind-hooks",
	 "the kernel does not take the hooks of bind(): a process of this node may listen at a "
	 "NodePort, where no client reaches it"},
	{DEGRADED_NO_NODE_ADDRESS, false, "no-node-address",
	 "direct server return is wanted, but the own Node object has no InternalIP that other "
	 "nodes know this one by: far clients' packets get source NAT"},
	{DEGRADED_OTHER_INSTANCE, true, "other-instance",
	 "hooks of another fairlead are on links or the cgroup of this node, and serve Services as it "
	 "last knew them: stop its agent if one runs, and remove them"},
	{DEGRADED_CGROUP_SUBTREE, false, "cgroup-subtree",
	 "the cgroup that the agent found is not the root: processes of this node elsewhere have no "
	 "socket hooks; give its container the node's cgroup v2 and name that with --cgroup"},
	{DEGRADED_FORWARD_POLICY, false, "forward-policy",
	 "netfilter drops forwarded packets by policy: clients reach backends on this node only where "
	 "a rule accepts packets to the backends' addresses, and replies"},
	{DEGRADED_STRICT_OVERLAY, true, "strict-overlay",
	 "the reverse path filter of an overlay is strict and drops what other nodes send through it "
	 "with direct server return: write 2 to /proc/sys/net/ipv4/conf/NAME/rp_filter; the agent's log "
	 "names the link"},
	{DEGRADED_DOUBTFUL_POD, false, "doubtful-pod",
	 "a link is taken for a pod's, but looks as if it led off the node: then its clients get no "
	 "answer from backends on other nodes; name it with --links-uplink, or with --links-pod; "
	 "`fairlead links` says which"},
	{DEGRADED_NODEPORT_RANGE, false, "node-port-range",
	 "a NodePort is in net.ipv4.ip_local_port_range: a socket of this node that gets it as the port "
	 "to listen at, or an unconnected UDP socket older than the NodePort, hears nothing from other "
	 "hosts; add the range of NodePorts to net.ipv4.ip_local_reserved_ports"},
	{0, false, NULL, NULL},
};

const char *go_architecture(const char *machine)
{
	if (!strcmp(machine, "x86_64"))
		return "amd64";
	return strcmp(machine, "aarch64") != 0 ? machine : "arm64";
}

const char *forwarding_word(__u32 forwarding)
{
	static const char *const words[] = {
		[FORWARDING_SNAT] = "snat",
		[FORWARDING_DSR] = "dsr",
		[FORWARDING_HYBRID] = "hybrid",
	};

	return word_of(words, forwarding);
}
