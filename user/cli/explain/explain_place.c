/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_place.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/map.h"
#include "cli/cli.h"
#include "link/hooks/hook.h"
#include "link/netlink/netlink.h"
#include "link/route.h"

/* The pin of one socket hook, which stands for all of them. */
#define SOCKET_HOOK_PIN "cgroup_connect4"

#define LOOPBACK_IFINDEX 1

static bool is_of_node(const struct shown_maps *maps, const struct ip_addr *addr)
{
	struct address_info info;

	return address_is_loopback(addr) ||
	       (!bpf_map_lookup_elem(maps->items[MAP_ADDRESSES].fd, addr, &info) &&
		info.flags & ADDRESS_NODE);
}

static int place_link_by_name(const char *name, struct place *place)
{
	place->is_given = true;
	place->ifindex = (int)if_nametoindex(name);
	if (place->ifindex)
		return 0;
	complain("there is no link `%s`; `fairlead links` lists them", name);
	return -ENODEV;
}

static int place_link_by_route(const struct question *question, struct place *place)
{
	const struct ip_addr *towards = place->is_egress ? &question->dst : &question->src;
	int err = route_find_link(towards, &place->ifindex);
	char text[ADDRESS_TEXT_SIZE];

	if (!err)
		return 0;
	/* No route to the VIP is needed: connect() replaces it by a backend that has one. */
	place->ifindex = LOOPBACK_IFINDEX;
	if (place->is_egress && place->has_socket_hooks)
		return 0;
	if (place->is_egress)
		complain("this node has no route to %s (%s), so no packet of its own leaves for it",
			 address_format(towards, text), strerror(-err));
	else
		complain("this node has no route to %s (%s), which would name the link that the "
			 "packet arrives on: name it with --link",
			 address_format(towards, text), strerror(-err));
	return -ENODEV;
}

struct port_search {
	const struct shown_maps *maps;
	int bridge;
	int port; /* 0: not found yet */
};

static void port_search_on_link(void *context, const struct link_facts *facts)
{
	struct port_search *search = context;
	__u32 key = (__u32)facts->ifindex;
	struct link_info info;

	if (!search->port && facts->master == search->bridge &&
	    !bpf_map_lookup_elem(search->maps->items[MAP_LINKS].fd, &key, &info) &&
	    info.role == LINK_POD)
		search->port = facts->ifindex;
}

/*
 * If the bridge has not learned the port of an address, takes any port with pods behind it: the
 * programs treat them all alike.
 */
static void place_leave_bridge(const struct shown_maps *maps, struct place *place)
{
	struct port_search search = {.maps = maps, .bridge = place->ifindex};
	const struct netlink_events events = {.link = port_search_on_link, .context = &search};

	if (!place->is_given && !netlink_dump(RTM_GETLINK, &events) && search.port)
		place->ifindex = search.port;
}

struct program_search {
	const char *pin_dir;
	bool is_egress;
	int program; /* negative: not found yet */
};

static void program_search_on_link(const void *key, const void *value, void *context)
{
	struct program_search *search = context;
	const struct link_info *info = value;
	int ifindex;

	memcpy(&ifindex, key, sizeof(ifindex));
	if (search->program < 0)
		search->program =
			hook_program(search->pin_dir, ifindex, info->hook, search->is_egress);
}

/* Any of our programs that is attached to a link; all have the same configuration. */
static int program_of_any_link(const struct shown_maps *maps, bool is_egress)
{
	struct program_search search = {
		.pin_dir = maps->pin_dir, .is_egress = is_egress, .program = -1};

	(void)map_each(maps->items[MAP_LINKS].fd, program_search_on_link, &search);
	return search.program;
}

static int program_of_sockets(const struct shown_maps *maps)
{
	auto_cleanup(cleanup_fd) int link = -1;
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	char path[PATH_MAX];
	int program;

	if (pin_path(path, maps->pin_dir, SOCKET_HOOK_PIN))
		return -1;
	link = bpf_obj_get(path);
	if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size))
		return -1;
	program = bpf_prog_get_fd_by_id(info.prog_id);
	return program < 0 ? -1 : program;
}

static bool has_socket_hooks(const char *pin_dir)
{
	char path[PATH_MAX];

	return !pin_path(path, pin_dir, SOCKET_HOOK_PIN) && !access(path, F_OK);
}

static void place_find_programs(const struct shown_maps *maps, struct place *place)
{
	place->program =
		hook_program(maps->pin_dir, place->ifindex,
			     place->has_info ? place->info.hook : LINK_HOOK_NONE, place->is_egress);
	if (place->program < 0)
		place->program = -1;
	place->is_socket = place->program < 0 && place->has_socket_hooks &&
			   (place->is_egress || (place->has_info && place->info.role == LINK_POD));
	place->any_program = place->program >= 0 ? dup(place->program)
						 : program_of_any_link(maps, place->is_egress);
	if (place->any_program < 0)
		place->any_program = program_of_sockets(maps);
}

int place_find(const struct shown_maps *maps, const struct question *question, const char *link,
	       struct place *ret_place)
{
	__u32 key;
	int err;

	*ret_place = (struct place){.program = -1, .any_program = -1};
	ret_place->is_local = is_of_node(maps, &question->src);
	ret_place->is_egress = ret_place->is_local && !link;
	ret_place->has_socket_hooks = has_socket_hooks(maps->pin_dir);
	err = link ? place_link_by_name(link, ret_place) : place_link_by_route(question, ret_place);
	if (err)
		return err;
	if (!ret_place->is_egress)
		place_leave_bridge(maps, ret_place);
	if (!if_indextoname((unsigned int)ret_place->ifindex, ret_place->link))
		(void)strcpy(ret_place->link, "?");
	key = (__u32)ret_place->ifindex;
	ret_place->has_info =
		!bpf_map_lookup_elem(maps->items[MAP_LINKS].fd, &key, &ret_place->info);
	place_find_programs(maps, ret_place);
	return 0;
}

void place_fini(struct place *place)
{
	cleanup_fd(&place->program);
	cleanup_fd(&place->any_program);
}
