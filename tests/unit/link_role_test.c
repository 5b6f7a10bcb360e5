/* SPDX-License-Identifier: BSD-2-Clause */
/* What the rules say of the links that real nodes have: one row for each link of each kind of node.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <net/if.h>
#include <linux/if_arp.h>

#include <cmocka.h>

#include "link/link_watch.h"

#define HERE      (-1) /* the peer's namespace is ours */
#define ELSEWHERE 3

struct row {
	const char *node;
	struct link_facts facts;
	enum link_role role;
	bool is_layer3;
	const char *why; /* a part of it */
};

#define ETHERNET .type = ARPHRD_ETHER, .flags = IFF_UP, .peer_netns = HERE
#define BARE_IP  .type = ARPHRD_NONE, .flags = IFF_UP, .peer_netns = HERE
#define NETKIT \
	.type = ARPHRD_ETHER, .flags = IFF_UP, .kind = "netkit", .lower = 2, .peer_netns = ELSEWHERE
#define PEER_ELSEWHERE \
	.type = ARPHRD_ETHER, .flags = IFF_UP, .kind = "veth", .lower = 2, .peer_netns = ELSEWHERE

static const struct row rows[] = {
	{"any",
	 {.name = "lo", .type = ARPHRD_LOOPBACK, .flags = IFF_LOOPBACK},
	 LINK_IGNORED,
	 false,
	 "loopback"},
	{"any", {.name = "eth0", ETHERNET}, LINK_UPLINK, false, "physical"},
	{"any, cable out",
	 {.name = "eth1", .type = ARPHRD_ETHER, .peer_netns = HERE},
	 LINK_UPLINK,
	 false,
	 "physical"},
	{"Calico", {.name = "cali1234", PEER_ELSEWHERE}, LINK_POD, false, "another namespace"},
	{"Calico",
	 {.name = "tunl0", .kind = "ipip", .type = ARPHRD_TUNNEL},
	 LINK_OVERLAY,
	 true,
	 "tunnel"},
	{"Calico",
	 {.name = "vxlan.calico", .kind = "vxlan", ETHERNET},
	 LINK_OVERLAY,
	 false,
	 "tunnel"},
	{"Calico",
	 {.name = "wireguard.cali", .kind = "wireguard", BARE_IP},
	 LINK_OVERLAY,
	 true,
	 "tunnel"},
	{"Cilium-like", {.name = "lxc1234", NETKIT}, LINK_POD, false, "another namespace"},
	{"Cilium-like",
	 {.name = "cilium_host", .kind = "veth", ETHERNET, .lower = 4},
	 LINK_IGNORED,
	 false,
	 "both ends"},
	{"Cilium-like",
	 {.name = "cilium_geneve", .kind = "geneve", ETHERNET},
	 LINK_OVERLAY,
	 false,
	 "tunnel"},
	{"flannel",
	 {.name = "cni0", .kind = "bridge", ETHERNET},
	 LINK_IGNORED,
	 false,
	 "its ports are managed"},
	{"flannel",
	 {.name = "veth12", PEER_ELSEWHERE, .master = 5, .slave_kind = "bridge"},
	 LINK_POD,
	 false,
	 "another namespace"},
	{"flannel",
	 {.name = "flannel.1", .kind = "vxlan", ETHERNET},
	 LINK_OVERLAY,
	 false,
	 "tunnel"},
	{"flannel, udp", {.name = "flannel0", .kind = "tun", BARE_IP}, LINK_OVERLAY, true, "tun"},
	{"GKE ptp", {.name = "gke12", PEER_ELSEWHERE}, LINK_POD, false, "another namespace"},
	{"kind",
	 {.name = "eth0", PEER_ELSEWHERE, .has_gateway_route = true},
	 LINK_UPLINK,
	 false,
	 "a gateway"},
	{"kind", {.name = "vethabc", PEER_ELSEWHERE}, LINK_POD, false, "another namespace"},
	{"OVS",
	 {.name = "ovs-system", .kind = "openvswitch", ETHERNET},
	 LINK_IGNORED,
	 false,
	 "other ports"},
	{"OVS",
	 {.name = "br-int",
	  .kind = "openvswitch",
	  ETHERNET,
	  .master = 3,
	  .slave_kind = "openvswitch"},
	 LINK_IGNORED,
	 false,
	 "other ports"},
	{"OVS",
	 {.name = "pod1", PEER_ELSEWHERE, .master = 3, .slave_kind = "openvswitch"},
	 LINK_POD,
	 false,
	 "another namespace"},
	{"OVS",
	 {.name = "eth0", ETHERNET, .master = 3, .slave_kind = "openvswitch"},
	 LINK_UPLINK,
	 false,
	 "port of a bridge"},
	{"bond", {.name = "bond0", .kind = "bond", ETHERNET}, LINK_UPLINK, false, "its members"},
	{"bond",
	 {.name = "eth0", ETHERNET, .master = 4, .slave_kind = "bond"},
	 LINK_IGNORED,
	 false,
	 "master"},
	{"bond",
	 {.name = "team-port", ETHERNET, .master = 4, .slave_kind = "team"},
	 LINK_IGNORED,
	 false,
	 "master"},
	{"bond",
	 {.name = "bond0.7", .kind = "vlan", ETHERNET, .lower = 4},
	 LINK_UPLINK,
	 false,
	 "VLAN"},
	{"virtual function below a synthetic NIC",
	 {.name = "enP1s1", .type = ARPHRD_ETHER, .flags = IFF_UP | IFF_SLAVE, .master = 2},
	 LINK_IGNORED,
	 false,
	 "master"},
	{"KVM",
	 {.name = "br0", .kind = "bridge", ETHERNET},
	 LINK_IGNORED,
	 false,
	 "its ports are managed"},
	{"KVM",
	 {.name = "eno1", ETHERNET, .master = 6, .slave_kind = "bridge"},
	 LINK_UPLINK,
	 false,
	 "port of a bridge"},
	{"KVM",
	 {.name = "bond0", .kind = "bond", ETHERNET, .master = 6, .slave_kind = "bridge"},
	 LINK_UPLINK,
	 false,
	 "port of a bridge"},
	{"KVM",
	 {.name = "vnet0", .kind = "tun", ETHERNET, .master = 6, .slave_kind = "bridge"},
	 LINK_POD,
	 false,
	 "virtual machine"},
	{"KVM",
	 {.name = "vx10", .kind = "vxlan", ETHERNET, .master = 6, .slave_kind = "bridge"},
	 LINK_OVERLAY,
	 false,
	 "tunnel"},
	{"veth from a bridge to the host",
	 {.name = "veth-br",
	  .kind = "veth",
	  ETHERNET,
	  .lower = 8,
	  .master = 6,
	  .slave_kind = "bridge"},
	 LINK_IGNORED,
	 false,
	 "both ends"},
	{"Kata",
	 {.name = "tap0_kata", .kind = "tun", ETHERNET},
	 LINK_POD,
	 false,
	 "virtual machine"},
	{"NodeLocalDNS",
	 {.name = "nodelocaldns", .kind = "dummy", ETHERNET},
	 LINK_IGNORED,
	 false,
	 "dummy"},
	{"ipvs", {.name = "kube-ipvs0", .kind = "dummy", ETHERNET}, LINK_IGNORED, false, "dummy"},
	{"VRF", {.name = "red", .kind = "vrf", ETHERNET}, LINK_IGNORED, false, "VRF"},
	{"VRF",
	 {.name = "eth2", ETHERNET, .master = 9, .slave_kind = "vrf"},
	 LINK_UPLINK,
	 false,
	 "physical"},
	{"ipvlan",
	 {.name = "ipvl0", .kind = "ipvlan", ETHERNET, .lower = 2},
	 LINK_UPLINK,
	 false,
	 "on another link"},
	{"IPv6 tunnel",
	 {.name = "ip6tnl0", .kind = "ip6tnl", .type = ARPHRD_TUNNEL6},
	 LINK_OVERLAY,
	 true,
	 "tunnel"},
	{"6to4", {.name = "sit0", .kind = "sit", .type = ARPHRD_SIT}, LINK_OVERLAY, true, "tunnel"},
	{"GRE",
	 {.name = "gre1", .kind = "gre", .type = ARPHRD_IPGRE},
	 LINK_OVERLAY,
	 true,
	 "tunnel"},
	{"GRE", {.name = "gretap1", .kind = "gretap", ETHERNET}, LINK_OVERLAY, false, "tunnel"},
	{"IPsec", {.name = "ipsec0", .kind = "xfrm", BARE_IP}, LINK_OVERLAY, true, "tunnel"},
	{"DSL",
	 {.name = "ppp0", .type = ARPHRD_PPP, .peer_netns = HERE},
	 LINK_UPLINK,
	 true,
	 "physical"},
	{"mobile",
	 {.name = "wwan0", .type = ARPHRD_RAWIP, .peer_netns = HERE},
	 LINK_UPLINK,
	 true,
	 "physical"},
	{"InfiniBand", {.name = "ib0", .type = ARPHRD_INFINIBAND}, LINK_IGNORED, false, "type 32"},
	{"CAN",
	 {.name = "vcan0", .kind = "vcan", .type = ARPHRD_CAN},
	 LINK_IGNORED,
	 false,
	 "type 280"},
	{"monitor",
	 {.name = "nlmon0", .kind = "nlmon", .type = ARPHRD_NETLINK},
	 LINK_IGNORED,
	 false,
	 "type 824"},
	{"mirror", {.name = "ifb0", .kind = "ifb", ETHERNET}, LINK_IGNORED, false, "ifb"},
	{"the future",
	 {.name = "new0", .kind = "quantum", ETHERNET},
	 LINK_UPLINK,
	 false,
	 "kind quantum"},
};

static void each_link_of_common_nodes_has_its_role(void **state)
{
	static const struct link_overrides none;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		char why[LINK_WHY_SIZE];
		enum link_role role = link_role_decide(&row->facts, &none, why);

		if (role != row->role || link_is_layer3(&row->facts) != row->is_layer3 ||
		    !strstr(why, row->why))
			fail_msg("%s, %s: role %d (%s), layer 3: %d", row->node, row->facts.name,
				 (int)role, why, link_is_layer3(&row->facts));
	}
}

static enum link_role decide(const char *name, const struct link_overrides *overrides,
			     char why[LINK_WHY_SIZE])
{
	struct link_facts facts = {ETHERNET};

	(void)snprintf(facts.name, sizeof(facts.name), "%s", name);
	return link_role_decide(&facts, overrides, why);
}

static void a_glob_overrides_the_rules_and_is_named(void **state)
{
	const struct link_overrides overrides = {.pod = "azv*, eth7"};
	char why[LINK_WHY_SIZE];

	(void)state;
	assert_int_equal(decide("azv123", &overrides, why), LINK_POD);
	assert_string_equal(why, "matched --links-pod azv*");
	assert_int_equal(decide("eth7", &overrides, why), LINK_POD);
	assert_string_equal(why, "matched --links-pod eth7");
	assert_int_equal(decide("eth77", &overrides, why), LINK_UPLINK);
}

static void overrides_are_asked_in_the_order_ignore_pod_uplink_overlay(void **state)
{
	const char *const all = "eth0";
	struct link_overrides overrides = {
		.pod = all, .uplink = all, .overlay = all, .ignore = all};
	char why[LINK_WHY_SIZE];

	(void)state;
	assert_int_equal(decide("eth0", &overrides, why), LINK_IGNORED);
	overrides.ignore = NULL;
	assert_int_equal(decide("eth0", &overrides, why), LINK_POD);
	overrides.pod = "";
	assert_int_equal(decide("eth0", &overrides, why), LINK_UPLINK);
	overrides.uplink = "eth1";
	assert_int_equal(decide("eth0", &overrides, why), LINK_OVERLAY);
}

static void no_override_makes_loopback_or_unknown_headers_managed(void **state)
{
	const struct link_overrides overrides = {.pod = "*"};
	const struct link_facts loopback = {
		.name = "lo", .type = ARPHRD_LOOPBACK, .flags = IFF_LOOPBACK};
	const struct link_facts infiniband = {.name = "ib0", .type = ARPHRD_INFINIBAND};
	char why[LINK_WHY_SIZE];

	(void)state;
	assert_int_equal(link_role_decide(&loopback, &overrides, why), LINK_IGNORED);
	assert_int_equal(link_role_decide(&infiniband, &overrides, why), LINK_IGNORED);
}

static void a_long_glob_is_cut_not_overrun(void **state)
{
	const struct link_overrides overrides = {.uplink = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
							   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
							   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
							   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,"
							   "dummy*"};
	struct link_facts facts = {.name = "dummy7", .kind = "dummy", ETHERNET};
	char why[LINK_WHY_SIZE];

	(void)state;
	assert_int_equal(link_role_decide(&facts, &overrides, why), LINK_UPLINK);
	assert_string_equal(why, "matched --links-uplink dummy*");
}

static void a_pods_link_that_leads_off_the_node_is_in_doubt(void **state)
{
	static const struct {
		struct link_facts facts;
		bool has_network;
		enum link_doubt doubt;
	} links[] = {
		{{.name = "veth1", PEER_ELSEWHERE}, false, LINK_DOUBT_NONE},
		{{.name = "veth1", PEER_ELSEWHERE}, true, LINK_DOUBT_NETWORK},
		{{.name = "veth1", NETKIT}, true, LINK_DOUBT_NETWORK},
		{{.name = "veth1", PEER_ELSEWHERE, .has_default_route = true},
		 true,
		 LINK_DOUBT_DEFAULT_ROUTE},
		{{.name = "eth0", PEER_ELSEWHERE, .has_gateway_route = true},
		 true,
		 LINK_DOUBT_NONE},
		{{.name = "veth1", .kind = "veth", ETHERNET, .lower = 4}, true, LINK_DOUBT_NONE},
		{{.name = "tap0", .kind = "tun", ETHERNET}, true, LINK_DOUBT_NONE},
		{{.name = "eth0", ETHERNET, .has_default_route = true}, true, LINK_DOUBT_NONE},
		{{.name = "named", PEER_ELSEWHERE, .has_default_route = true},
		 true,
		 LINK_DOUBT_NONE},
	};
	const struct link_overrides overrides = {.pod = "named"};

	(void)state;
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		enum link_doubt doubt =
			link_pod_doubt(&links[i].facts, &overrides, links[i].has_network);

		if (doubt != links[i].doubt)
			fail_msg("%zu, %s: doubt %d", i, links[i].facts.name, (int)doubt);
	}
}

static void near_is_what_the_options_say_or_the_role(void **state)
{
	const struct link_near by_role = {}, by_bridge = {.bridge = "cni0"},
			       by_prefix = {.name_prefix = "veth"};
	const struct link_facts port = {.name = "veth12", .kind = "veth", ETHERNET};
	const struct link_facts uplink = {.name = "eth0", ETHERNET};

	(void)state;
	assert_true(link_is_near(&by_role, &port, LINK_POD, NULL));
	assert_false(link_is_near(&by_role, &uplink, LINK_UPLINK, "cni0"));
	assert_false(link_is_near(&by_role, &uplink, LINK_OVERLAY, NULL));
	assert_true(link_is_near(&by_bridge, &port, LINK_POD, "cni0"));
	assert_false(link_is_near(&by_bridge, &port, LINK_POD, "cni1"));
	assert_false(link_is_near(&by_bridge, &port, LINK_POD, NULL));
	assert_true(link_is_near(&by_prefix, &port, LINK_UPLINK, NULL));
	assert_true(link_is_near(&by_prefix, &uplink, LINK_UPLINK, "vethbridge"));
	assert_false(link_is_near(&by_prefix, &uplink, LINK_UPLINK, "br0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_link_of_common_nodes_has_its_role),
		cmocka_unit_test(a_glob_overrides_the_rules_and_is_named),
		cmocka_unit_test(overrides_are_asked_in_the_order_ignore_pod_uplink_overlay),
		cmocka_unit_test(no_override_makes_loopback_or_unknown_headers_managed),
		cmocka_unit_test(a_pods_link_that_leads_off_the_node_is_in_doubt),
		cmocka_unit_test(near_is_what_the_options_say_or_the_role),
		cmocka_unit_test(a_long_glob_is_cut_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
