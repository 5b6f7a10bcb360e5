/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/netlink/netlink.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/address.h"

static void name_read(char name[LINK_NAME_SIZE], const struct nlattr *attr)
{
	size_t len = strnlen(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));

	if (len >= LINK_NAME_SIZE)
		len = LINK_NAME_SIZE - 1;
	memcpy(name, mnl_attr_get_payload(attr), len);
	name[len] = '\0';
}

static uint32_t u32_read(const struct nlattr *attr)
{
	return mnl_attr_validate(attr, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(attr);
}

static void link_kind_read(struct link_facts *facts, const struct nlattr *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, info)
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_INFO_KIND:
			name_read(facts->kind, attr);
			break;
		case IFLA_INFO_SLAVE_KIND:
			name_read(facts->slave_kind, attr);
			break;
		default:
			break;
		}
	}
}

/* Returns false if the message is about something else and lacks the attributes we need. */
static bool link_read(const struct nlmsghdr *message, struct link_facts *facts)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr;

	*facts = (struct link_facts){
		.ifindex = header->ifi_index,
		.type = header->ifi_type,
		.flags = header->ifi_flags,
		.peer_netns = -1,
	};
	mnl_attr_for_each(attr, message, sizeof(*header))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			name_read(facts->name, attr);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(facts->mac))
				memcpy(facts->mac, mnl_attr_get_payload(attr), sizeof(facts->mac));
			break;
		case IFLA_MASTER:
			facts->master = (int)u32_read(attr);
			break;
		case IFLA_LINK:
			facts->lower = (int)u32_read(attr);
			break;
		case IFLA_LINK_NETNSID:
			facts->peer_netns = (int)u32_read(attr);
			break;
		case IFLA_PARENT_DEV_NAME:
			facts->is_hardware = true;
			break;
		case IFLA_LINKINFO:
			link_kind_read(facts, attr);
			break;
		case IFLA_WIRELESS: /* an event of a wireless driver, not a state */
			return false;
		default:
			break;
		}
	}
	return facts->name[0];
}

static void link_message(const struct nlmsghdr *message, const struct netlink_events *events)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	struct link_facts facts;

	/*
	 * AF_BRIDGE: a port joined or left a bridge; its DELLINK does not mean that the link is
	 * gone.
	 */
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) || header->ifi_family != AF_UNSPEC)
		return;
	if (message->nlmsg_type == RTM_DELLINK)
		events->link_gone(events->context, header->ifi_index);
	else if (link_read(message, &facts))
		events->link(events->context, &facts);
}

static bool ip_read(unsigned char family, const struct nlattr *attr, struct ip_addr *ret_addr)
{
	const uint16_t len = mnl_attr_get_payload_len(attr);

	if (family == AF_INET && len == sizeof(__be32)) {
		__be32 ipv4;

		memcpy(&ipv4, mnl_attr_get_payload(attr), sizeof(ipv4));
		*ret_addr = address_from_ipv4(ipv4);
		return true;
	}
	if (family == AF_INET6 && len == sizeof(ret_addr->bytes)) {
		memcpy(ret_addr->bytes, mnl_attr_get_payload(attr), len);
		return true;
	}
	return false;
}

static void address_message(const struct nlmsghdr *message, const struct netlink_events *events)
{
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
	struct link_address address = {};
	const struct nlattr *attr;
	bool has_local = false;
	bool found = false;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return;
	address.ifindex = (int)header->ifa_index;
	address.prefix = header->ifa_prefixlen;
	address.scope = header->ifa_scope;
	address.flags = header->ifa_flags;
	mnl_attr_for_each(attr, message, sizeof(*header))
	{
		const uint16_t type = mnl_attr_get_type(attr);

		/* On a link with a peer address IFA_ADDRESS is the peer's, IFA_LOCAL ours. */
		if (type == IFA_LOCAL || (type == IFA_ADDRESS && !has_local))
			found = ip_read(header->ifa_family, attr, &address.addr);
		if (type == IFA_LOCAL)
			has_local = true;
		else if (type == IFA_FLAGS)
			address.flags = u32_read(attr);
	}
	if (!found)
		return;
	if (message->nlmsg_type == RTM_DELADDR)
		events->address_gone(events->context, &address);
	else
		events->address(events->context, &address);
}

static void hop_report(const struct nlmsghdr *message, const struct route_hop *hop,
		       const struct netlink_events *events)
{
	if (!hop->ifindex)
		return;
	if (message->nlmsg_type == RTM_DELROUTE)
		events->route_gone(events->context, hop);
	else
		events->route(events->context, hop);
}

static void hops_report(const struct nlmsghdr *message, const struct nlattr *multipath,
			struct route_hop hop, const struct netlink_events *events)
{
	const struct rtnexthop *next = mnl_attr_get_payload(multipath);
	int len = mnl_attr_get_payload_len(multipath);

	for (; len >= (int)sizeof(*next) && RTNH_OK(next, len);
	     len -= (int)RTNH_ALIGN(next->rtnh_len), next = RTNH_NEXT(next)) {
		const struct nlattr *attr;

		hop.ifindex = next->rtnh_ifindex;
		hop.has_gateway = false;
		mnl_attr_for_each_payload((const void *)(next + 1), next->rtnh_len - sizeof(*next))
		{
			const uint16_t type = mnl_attr_get_type(attr);

			if (type == RTA_GATEWAY || type == RTA_VIA)
				hop.has_gateway = true;
		}
		hop_report(message, &hop, events);
	}
}

static void route_message(const struct nlmsghdr *message, const struct netlink_events *events)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *multipath = NULL;
	struct route_hop hop = {};
	const struct nlattr *attr;
	uint32_t table;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
	    header->rtm_type != RTN_UNICAST || (header->rtm_flags & RTM_F_CLONED))
		return;
	table = header->rtm_table;
	hop.family = header->rtm_family == AF_INET ? FAMILY_IPV4 : FAMILY_IPV6;
	hop.is_default = header->rtm_dst_len == 0;
	hop.is_replacement = message->nlmsg_flags & NLM_F_REPLACE;
	mnl_attr_for_each(attr, message, sizeof(*header))
	{
		switch (mnl_attr_get_type(attr)) {
		case RTA_TABLE:
			table = u32_read(attr);
			break;
		case RTA_OIF:
			hop.ifindex = (int)u32_read(attr);
			break;
		case RTA_PRIORITY:
			hop.metric = u32_read(attr);
			break;
		case RTA_GATEWAY:
		case RTA_VIA:
			hop.has_gateway = true;
			break;
		case RTA_MULTIPATH:
			multipath = attr;
			break;
		default:
			break;
		}
	}
	if (table != RT_TABLE_MAIN)
		return;
	if (multipath)
		hops_report(message, multipath, hop, events);
	else
		hop_report(message, &hop, events);
}

int netlink_message(const struct nlmsghdr *message, void *data)
{
	const struct netlink_events *events = data;

	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		link_message(message, events);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		address_message(message, events);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		route_message(message, events);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}
