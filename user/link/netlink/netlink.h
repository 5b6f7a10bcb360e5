/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* rtnetlink, read: messages of the kernel taken apart into plain facts. */

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "fairlead/agent.h"
#include "fairlead/types.h"

/* What rtnetlink says of a link: all that the rules look at. */
struct link_facts {
	int ifindex;
	char name[LINK_NAME_SIZE];
	char kind[LINK_NAME_SIZE];       /* IFLA_INFO_KIND, "" where there is none */
	char slave_kind[LINK_NAME_SIZE]; /* IFLA_INFO_SLAVE_KIND: "bridge", "bond", ... */
	uint16_t type;                   /* ARPHRD_* */
	uint32_t flags;                  /* IFF_* */
	int master;                      /* ifindex, 0: none */
	int lower;              /* IFLA_LINK: ifindex in this or the peer's namespace, 0: none */
	int peer_netns;         /* IFLA_LINK_NETNSID; -1: the lower link is in this namespace */
	uint8_t mac[6];         /* IFLA_ADDRESS; zero where it is no Ethernet address */
	bool is_hardware;       /* a device of some bus is behind it: IFLA_PARENT_DEV_NAME */
	bool has_gateway_route; /* a route of the main table has its next hop here */
};

/* An address of a link. */
struct link_address {
	int ifindex;
	struct ip_addr addr;
	uint8_t scope;  /* RT_SCOPE_* */
	uint32_t flags; /* IFA_F_* */
};

/* One next hop of a route in the main table. */
struct route_hop {
	int ifindex;
	enum ip_family family;
	uint32_t metric;
	bool has_gateway;
	bool is_default;
	bool is_replacement; /* it took the place of a route that no message names */
};

struct netlink_events {
	void (*link)(void *context, const struct link_facts *facts);
	void (*link_gone)(void *context, int ifindex);
	void (*address)(void *context, const struct link_address *address);
	void (*address_gone)(void *context, const struct link_address *address);
	void (*route)(void *context, const struct route_hop *hop);
	void (*route_gone)(void *context, const struct route_hop *hop);
	void *context;
};

void netlink_closep(struct mnl_socket **socket);

/* Takes one message apart; an mnl_cb_t whose `data` is the struct netlink_events. */
int netlink_message(const struct nlmsghdr *message, void *data);

/*
 * Sends a request and hands each answer to `callback`. Returns 0 or the negative errno of the
 * kernel, -EINTR where a dump was overtaken by a change: the socket is then of no further use.
 * Silent.
 */
int netlink_request(struct mnl_socket *socket, struct nlmsghdr *request, mnl_cb_t callback,
		    void *data);

/* A socket of its own for requests on `bus`, or NULL with errno. */
struct mnl_socket *netlink_open(int bus);

/* A socket that hears of links, addresses and routes, and never blocks; NULL with errno. */
struct mnl_socket *netlink_open_watch(void);

/* Dumps: RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE. As netlink_request, but -EINTR is tried again. */
int netlink_dump(uint16_t type, const struct netlink_events *events);

/* One link. -ENODEV where it is gone. */
int netlink_get_link(int ifindex, const struct netlink_events *events);

/* The number of filters below `parent` of a link, or a negative errno. */
int netlink_count_filters(int ifindex, uint32_t parent);
