/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link's role on this node, by rules that need no configuration. The first match decides:
 *
 *  1. loopback                                          ignored
 *  2. neither Ethernet nor bare IP                      ignored: no program can parse its headers
 *  3. named by --links-ignore, -pod, -uplink, -overlay  as named, checked in this order
 *  4. member of a bond, team or failover pair           ignored: its packets arrive on the master
 *  5. veth or netkit that leads to a gateway            uplink: the node itself is in a namespace
 *  6. veth or netkit with both ends here                ignored
 *  7. veth or netkit with its peer elsewhere            pod
 *  8. tap                                               pod: a virtual machine
 *  9. tun                                               overlay
 * 10. port of a bridge, except tunnels                  uplink: it leads off the node
 * 11. by kind, see `kind_rules`; no kind is physical    uplink, overlay or ignored
 * 12. unknown kind                                      uplink: hooked, so that Services work
 *
 * A packet must meet our hooks where it enters and where it leaves, and nowhere in between. So we
 * manage the ports of a bridge but not the bridge, and a bond but not its members. A link that is
 * down is classified like any other, since it may come up.
 *
 * Pods and uplinks run the same programs. The role tells near clients from far ones.
 */
#include <fnmatch.h>
#include <net/if.h> /* before the kernel's headers, which then skip what it defines */
#include <linux/if_arp.h>
#include <stdio.h>
#include <string.h>

#include "link/role.h"

static bool text_is(const char *text, const char *other)
{
	return !strcmp(text, other);
}

bool link_is_layer3(const struct link_facts *facts)
{
	switch (facts->type) {
	case ARPHRD_NONE: /* tun, wireguard, xfrm */
	case ARPHRD_PPP:
	case ARPHRD_RAWIP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
		return true;
	default:
		return false;
	}
}

bool link_is_port(const struct link_facts *facts)
{
	return facts->master && *facts->slave_kind && !text_is(facts->slave_kind, "vrf");
}

bool link_is_pair(const struct link_facts *facts)
{
	return text_is(facts->kind, "veth") || text_is(facts->kind, "netkit");
}

static bool is_bond_member(const struct link_facts *facts)
{
	/* IFF_SLAVE also marks the virtual function below a synthetic NIC, and failover pairs. */
	return (facts->flags & IFF_SLAVE) || text_is(facts->slave_kind, "bond") ||
	       text_is(facts->slave_kind, "team");
}

static bool is_gateway_pair(const struct link_facts *facts)
{
	return link_is_pair(facts) && facts->has_gateway_route;
}

static bool is_inner_pair(const struct link_facts *facts)
{
	return link_is_pair(facts) && facts->lower && facts->peer_netns < 0;
}

static bool is_tap(const struct link_facts *facts)
{
	return text_is(facts->kind, "tun") && !link_is_layer3(facts);
}

static bool is_tun(const struct link_facts *facts)
{
	return text_is(facts->kind, "tun");
}

static bool is_outer_port(const struct link_facts *facts)
{
	static const char *const kinds[] = {"", "vlan", "bond", "team", "macvlan"};

	if (!text_is(facts->slave_kind, "bridge") && !text_is(facts->slave_kind, "openvswitch"))
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (text_is(facts->kind, kinds[i]))
			return true;
	}
	return false;
}

static const struct {
	bool (*applies)(const struct link_facts *facts);
	enum link_role role;
	const char *why;
} rules[] = {
	{is_bond_member, LINK_IGNORED, "member of a bond: packets arrive on its master"},
	{is_gateway_pair, LINK_UPLINK, "a gateway is reached by it"},
	{is_inner_pair, LINK_IGNORED,
	 "both ends are in this namespace: packets pass other links too"},
	{link_is_pair, LINK_POD, "its peer is in another namespace"},
	{is_tap, LINK_POD, "tap: a virtual machine is behind it"},
	{is_tun, LINK_OVERLAY, "tun: a tunnel made by a program"},
	{is_outer_port, LINK_UPLINK, "port of a bridge that leads off the node"},
};

static const struct {
	const char *kind;
	enum link_role role;
	const char *why;
} kind_rules[] = {
	{"", LINK_UPLINK, "physical link"},
	{"bond", LINK_UPLINK, "bond: it stands for its members"},
	{"team", LINK_UPLINK, "team: it stands for its members"},
	{"vlan", LINK_UPLINK, "VLAN of another link"},
	{"macvlan", LINK_UPLINK, "address of its own on another link"},
	{"macvtap", LINK_UPLINK, "address of its own on another link"},
	{"ipvlan", LINK_UPLINK, "address of its own on another link"},
	{"ipvtap", LINK_UPLINK, "address of its own on another link"},
	{"bridge", LINK_IGNORED, "bridge: its ports are managed"},
	{"openvswitch", LINK_IGNORED, "Open vSwitch: its other ports are managed"},
	{"dummy", LINK_IGNORED, "dummy: no packet comes in or goes out by it"},
	{"ifb", LINK_IGNORED, "ifb: its packets come from other links"},
	{"vrf", LINK_IGNORED, "VRF: its members are managed"},
	{"vxlan", LINK_OVERLAY, "tunnel to other nodes"},
	{"geneve", LINK_OVERLAY, "tunnel to other nodes"},
	{"bareudp", LINK_OVERLAY, "tunnel to other nodes"},
	{"gre", LINK_OVERLAY, "tunnel to other nodes"},
	{"gretap", LINK_OVERLAY, "tunnel to other nodes"},
	{"erspan", LINK_OVERLAY, "tunnel to other nodes"},
	{"ip6gre", LINK_OVERLAY, "tunnel to other nodes"},
	{"ip6gretap", LINK_OVERLAY, "tunnel to other nodes"},
	{"ip6erspan", LINK_OVERLAY, "tunnel to other nodes"},
	{"ipip", LINK_OVERLAY, "tunnel to other nodes"},
	{"sit", LINK_OVERLAY, "tunnel to other nodes"},
	{"ip6tnl", LINK_OVERLAY, "tunnel to other nodes"},
	{"vti", LINK_OVERLAY, "tunnel to other nodes"},
	{"vti6", LINK_OVERLAY, "tunnel to other nodes"},
	{"xfrm", LINK_OVERLAY, "tunnel to other nodes"},
	{"wireguard", LINK_OVERLAY, "tunnel to other nodes"},
};

/*
 * If the name matches a glob of the list, writes that glob, as the operator wrote it, into `why`.
 */
static bool name_is_listed(const char *name, const char *globs, const char *option,
			   char why[LINK_WHY_SIZE])
{
	while (globs && *globs) {
		size_t len = strcspn(globs, ",");
		char glob[64];

		(void)snprintf(glob, sizeof(glob), "%.*s", (int)len, globs);
		if (!fnmatch(glob, name, 0)) {
			(void)snprintf(why, LINK_WHY_SIZE, "matched %s %.48s", option, glob);
			return true;
		}
		globs += len;
		globs += strspn(globs, ", ");
	}
	return false;
}

static bool override_decide(const char *name, const struct link_overrides *overrides,
			    enum link_role *ret_role, char why[LINK_WHY_SIZE])
{
	const struct {
		const char *globs, *option;
		enum link_role role;
	} lists[] = {
		{overrides->ignore, "--links-ignore", LINK_IGNORED},
		{overrides->pod, "--links-pod", LINK_POD},
		{overrides->uplink, "--links-uplink", LINK_UPLINK},
		{overrides->overlay, "--links-overlay", LINK_OVERLAY},
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (name_is_listed(name, lists[i].globs, lists[i].option, why)) {
			*ret_role = lists[i].role;
			return true;
		}
	}
	return false;
}

static enum link_role kind_decide(const char *kind, char why[LINK_WHY_SIZE])
{
	for (size_t i = 0; i < sizeof(kind_rules) / sizeof(kind_rules[0]); i++) {
		if (text_is(kind, kind_rules[i].kind)) {
			(void)snprintf(why, LINK_WHY_SIZE, "%s", kind_rules[i].why);
			return kind_rules[i].role;
		}
	}
	(void)snprintf(why, LINK_WHY_SIZE, "kind %s has no rule: taken for an uplink", kind);
	return LINK_UPLINK;
}

enum link_role link_role_decide(const struct link_facts *facts,
				const struct link_overrides *overrides, char why[LINK_WHY_SIZE])
{
	enum link_role role;

	if (facts->flags & IFF_LOOPBACK) {
		(void)snprintf(why, LINK_WHY_SIZE, "loopback");
		return LINK_IGNORED;
	}
	if (facts->type != ARPHRD_ETHER && !link_is_layer3(facts)) {
		(void)snprintf(why, LINK_WHY_SIZE,
			       "hardware type %u is neither Ethernet nor bare IP", facts->type);
		return LINK_IGNORED;
	}
	if (override_decide(facts->name, overrides, &role, why))
		return role;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].applies(facts)) {
			(void)snprintf(why, LINK_WHY_SIZE, "%s", rules[i].why);
			return rules[i].role;
		}
	}
	return kind_decide(facts->kind, why);
}

enum link_doubt link_pod_doubt(const struct link_facts *facts,
			       const struct link_overrides *overrides, bool has_network)
{
	char why[LINK_WHY_SIZE];
	enum link_role role;

	if (!link_is_pair(facts) || link_role_decide(facts, overrides, why) != LINK_POD ||
	    override_decide(facts->name, overrides, &role, why))
		return LINK_DOUBT_NONE;
	if (facts->has_default_route)
		return LINK_DOUBT_DEFAULT_ROUTE;
	return has_network ? LINK_DOUBT_NETWORK : LINK_DOUBT_NONE;
}

static bool name_begins(const char *name, const char *prefix)
{
	return name && !strncmp(name, prefix, strlen(prefix));
}

bool link_is_near(const struct link_near *near, const struct link_facts *facts, enum link_role role,
		  const char *master)
{
	if (near->bridge)
		return master && text_is(master, near->bridge);
	if (near->name_prefix)
		return name_begins(facts->name, near->name_prefix) ||
		       name_begins(master, near->name_prefix);
	return role == LINK_POD;
}
