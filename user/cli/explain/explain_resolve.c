/* SPDX-License-Identifier: BSD-2-Clause */

/* Resolves Services that are given by name. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/explain/explain_answer.h"
#include "words/words.h"

struct search {
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

static void name_look(const void *key, const void *value, void *context)
{
	struct search *search = context;
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

static void frontend_look(const void *key, const void *value, void *context)
{
	struct search *search = context;
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

static void search_fini(struct search *search)
{
	free(search->ids);
}

int question_resolve(const struct maps *maps, struct question *question)
{
	auto_cleanup(search_fini) struct search search = {.question = question};
	int err = map_read(maps, MAP_SERVICE_NAMES, name_look, &search);

	if (!err)
		err = map_read(maps, MAP_FRONTENDS, frontend_look, &search);
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
