/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_question.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"

static __u8 proto_of(const char *text)
{
	static const struct {
		const char *name;
		__u8 proto;
	} protos[] = {
		{"tcp", IPPROTO_TCP},   {"udp", IPPROTO_UDP},     {"sctp", IPPROTO_SCTP},
		{"icmp", IPPROTO_ICMP}, {"icmpv6", IPPROTO_ICMP},
	};

	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
		if (!strcasecmp(text, protos[i].name))
			return protos[i].proto;
	}
	return 0;
}

static bool copy_part(const char *from, size_t length, char ret_text[NAME_SIZE])
{
	if (!length || length >= NAME_SIZE)
		return false;
	(void)snprintf(ret_text, NAME_SIZE, "%.*s", (int)length, from);
	return true;
}

/* True for a valid port number; any other text is a port's name. */
static bool port_of_text(const char *text, __be16 *ret_port)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !number || number > 65535)
		return false;
	*ret_port = htons((__u16)number);
	return true;
}

/* "shop/web", "shop/web:http" or "shop/web:80". */
static bool name_parse(const char *text, struct question *question)
{
	const char *slash = strchr(text, '/');
	const char *colon = slash ? strchr(slash, ':') : NULL;
	size_t length;

	if (!slash || strchr(slash + 1, '/'))
		return false;
	length = colon ? (size_t)(colon - slash - 1) : strlen(slash + 1);
	if (!copy_part(text, (size_t)(slash - text), question->namespace_) ||
	    !copy_part(slash + 1, length, question->name))
		return false;
	if (!colon || port_of_text(colon + 1, &question->dst_port))
		return true;
	return copy_part(colon + 1, strlen(colon + 1), question->port_name);
}

const char *question_parse_dst(const char *text, struct question *question)
{
	static const char form[] =
		"DST is ADDRESS:PORT/PROTO, ADDRESS/icmp or NAMESPACE/NAME:PORT/PROTO, with an IPv6 "
		"address in brackets where a port follows";
	struct selection selection = {0};
	const char *slash = strrchr(text, '/');
	char target[NAME_SIZE * 4];

	if (!slash || slash - text >= (ptrdiff_t)sizeof(target))
		return form;
	question->proto = proto_of(slash + 1);
	if (!question->proto)
		return "the protocol is tcp, udp, sctp or icmp";
	(void)snprintf(target, sizeof(target), "%.*s", (int)(slash - text), text);
	if (strchr(target, '/'))
		return name_parse(target, question) ? NULL : form;
	if (selection_parse_address(&selection, target))
		return form;
	question->dst = selection.address;
	question->dst_port = selection.port;
	return NULL;
}

const char *question_parse_src(const char *text, struct question *question)
{
	struct selection selection = {0};

	if (selection_parse_address(&selection, text))
		return "SRC is ADDRESS or ADDRESS:PORT, with an IPv6 address in brackets where a port "
		       "follows";
	question->has_src = true;
	question->src = selection.address;
	question->src_port = selection.port;
	return NULL;
}

bool question_has_name(const struct question *question)
{
	return *question->name;
}

const char *question_check(const struct question *question)
{
	bool has_port = question->dst_port || *question->port_name;

	if (!question->has_src)
		return "--from says where the packet comes from: an address of a client, of a pod or "
		       "of this node";
	if (question->proto == IPPROTO_ICMP && (has_port || question->src_port))
		return "icmp has no ports";
	if (question_has_name(question))
		return NULL;
	if (question->proto != IPPROTO_ICMP && !has_port)
		return "tcp, udp and sctp need a port: ADDRESS:PORT/PROTO";
	if (address_family(&question->src) != address_family(&question->dst))
		return "DST and the address of --from are of different families";
	return NULL;
}

struct service_search {
	const struct question *question;
	__u32 *ids; /* matching service ports of the Service */
	size_t count;
	size_t capacity;
	struct frontend found;
	bool is_found;
};

static bool text_is(const char *array, const char *wanted)
{
	return !strncmp(array, wanted, NAME_SIZE);
}

static void service_search_on_name(const void *key, const void *value, void *context)
{
	struct service_search *search = context;
	const struct question *question = search->question;
	const struct service_name *name = value;

	if (!text_is(name->namespace_, question->namespace_) ||
	    !text_is(name->name, question->name) ||
	    name->family != address_family(&question->src) ||
	    (question->proto != IPPROTO_ICMP && name->proto != question->proto) ||
	    (*question->port_name && !text_is(name->port_name, question->port_name)))
		return;
	search->ids =
		alloc_one_more(search->ids, search->count, &search->capacity, sizeof(*search->ids));
	memcpy(&search->ids[search->count++], key, sizeof(*search->ids));
}

static void service_search_on_frontend(const void *key, const void *value, void *context)
{
	struct service_search *search = context;
	const struct frontend *frontend = key;
	const struct frontend_target *target = value;

	if (target->kind != FRONTEND_CLUSTER_IP)
		return;
	for (size_t i = 0; i < search->count; i++) {
		if (search->ids[i] != target->service ||
		    (search->question->dst_port && search->question->dst_port != frontend->port))
			continue;
		/* Choose the lowest port, so that the answer is always the same. */
		if (search->is_found && ntohs(search->found.port) <= ntohs(frontend->port))
			continue;
		search->found = *frontend;
		search->is_found = true;
	}
}

static void service_search_fini(struct service_search *search)
{
	free(search->ids);
}

int question_resolve(const struct shown_maps *maps, struct question *question)
{
	auto_cleanup(service_search_fini) struct service_search search = {.question = question};
	int err = shown_map_read(maps, MAP_SERVICE_NAMES, service_search_on_name, &search);

	if (err)
		return err;
	err = shown_map_read(maps, MAP_FRONTENDS, service_search_on_frontend, &search);
	if (err)
		return err;
	if (!search.is_found) {
		complain("no programmed port of a Service %s/%s fits; `fairlead services %s/%s` "
			 "shows what it has",
			 question->namespace_, question->name, question->namespace_,
			 question->name);
		return -ENOENT;
	}
	question->dst = search.found.vip;
	question->dst_port = question->proto == IPPROTO_ICMP ? 0 : search.found.port;
	return 0;
}
