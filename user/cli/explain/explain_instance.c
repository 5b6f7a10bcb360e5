/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_instance.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/map.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/explain/explain_tables.h"
#include "skeleton/tc.skel.h"

struct instance {
	struct tc_bpf *tc;
	const struct bpf_program *program; /* the program to run */
	const struct bpf_program *twin;    /* our copy of an attached program, or NULL */
	__u32 ifindex;
	bool is_egress;
	struct ip_addr loopback; /* the only address it knows; all zero: no limit */
};

static int info_of(int program, struct bpf_prog_info *ret_info)
{
	__u32 size = sizeof(*ret_info);

	*ret_info = (struct bpf_prog_info){0};
	return bpf_obj_get_info_by_fd(program, ret_info, &size) ? -errno : 0;
}

/*
 * Whether our program has the same code as the attached one, by the kernel's tag: a digest of the
 * instructions before verification. A socket program has no counterpart here, so it is not
 * compared.
 */
static bool is_same_code(const struct bpf_program *ours, int theirs)
{
	struct bpf_prog_info our_info, their_info;

	if (!ours)
		return true;
	return !info_of(bpf_program__fd(ours), &our_info) && !info_of(theirs, &their_info) &&
	       !memcmp(our_info.tag, their_info.tag, sizeof(our_info.tag));
}

static int complain_of_version(const struct place *place)
{
	complain("the program on %s is of another version of fairlead than this command, which is "
		 "%s: use that version's command, or start this version's agent",
		 place->link, FAIRLEAD_VERSION);
	return -EPROTO;
}

/*
 * Chooses the program to run, and the counterpart of an attached one to compare versions by. The
 * two may differ, for instance on links without a link-layer header: BPF_PROG_RUN only supports
 * packets with one.
 */
static void programs_choose(struct instance *instance, const struct place *place)
{
	struct tc_bpf *tc = instance->tc;
	struct bpf_prog_info attached;
	struct bpf_program *program;

	instance->program = place->is_egress ? tc->progs.fl_egress : tc->progs.fl_ingress;
	instance->is_egress = place->is_egress;
	instance->ifindex = (__u32)place->ifindex;
	if (!info_of(place->any_program, &attached))
		instance->twin = bpf_object__find_program_by_name(tc->obj, attached.name);
	bpf_object__for_each_program(program, tc->obj)(void) bpf_program__set_autoload(
		program, program == instance->program || program == instance->twin);
}

static int table_set(const struct bpf_map *map, const void *key, const void *value)
{
	int err;

	if (!bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY))
		return 0;
	err = -errno;
	complain("cannot write to a map of the programs that explain: %s", strerror(-err));
	return err;
}

bool instance_fits(struct instance *instance, const struct place *place,
		   const struct ip_addr *loopback)
{
	const struct ip_addr all = {};

	if (!address_equal(&instance->loopback, loopback ? loopback : &all) ||
	    instance->is_egress != place->is_egress || !instance->twin ||
	    !is_same_code(instance->twin, place->any_program))
		return false;
	instance->ifindex = (__u32)place->ifindex;
	return true;
}

int instance_open(const struct shown_maps *maps, const struct place *place,
		  const struct ip_addr *loopback, struct instance **ret_instance)
{
	static const struct address_info node = {.flags = ADDRESS_NODE | ADDRESS_NODE_PORTS};
	auto_cleanup(instance_closep) struct instance *instance =
		alloc_zeroed(1, sizeof(*instance));
	int err;

	instance->tc = tc_bpf__open();
	if (!instance->tc) {
		err = -errno;
		complain("cannot open the TC programs: %s", strerror(-err));
		return err;
	}
	if (tables_read_config(place->any_program, &instance->tc->rodata->config))
		return complain_of_version(place);
	if (loopback)
		instance->loopback = *loopback;
	programs_choose(instance, place);
	err = tables_share(maps, instance->tc->obj, !loopback);
	if (err)
		return err;
	err = tc_bpf__load(instance->tc);
	if (err) {
		complain("the kernel refuses the programs that explain (%s): they need root, "
			 "or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
			 strerror(-err));
		return err;
	}
	if (!is_same_code(instance->twin, place->any_program))
		return complain_of_version(place);
	err = tables_fill(maps, instance->tc->obj);
	if (err)
		return err;
	if (loopback) {
		err = table_set(instance->tc->maps.addresses, loopback, &node);
		if (err)
			return err;
	}
	*ret_instance = take_ptr(instance);
	return 0;
}

void instance_closep(struct instance **instance)
{
	if (!*instance)
		return;
	tc_bpf__destroy((*instance)->tc);
	free(*instance);
}

const struct config *instance_config(const struct instance *instance)
{
	return &instance->tc->rodata->config;
}

int instance_table(const struct instance *instance, enum map_id id)
{
	return bpf_object__find_map_fd_by_name(instance->tc->obj, map_table[id].name);
}

int instance_set_service(struct instance *instance, __u32 id, const struct service *service)
{
	return table_set(instance->tc->maps.services, &id, service);
}

int instance_set_affinity(struct instance *instance, const struct affinity_key *key,
			  const struct affinity *affinity)
{
	return table_set(instance->tc->maps.affinity, key, affinity);
}

int instance_set_address_flows(struct instance *instance, __u32 index,
			       const struct address_flows *busy)
{
	return table_set(instance->tc->maps.address_flows, &index, busy);
}

int instance_set_flow(struct instance *instance, const struct flow_key *key,
		      const struct flow *flow, bool is_confirmed)
{
	const struct bpf_map *map =
		is_confirmed ? instance->tc->maps.flows : instance->tc->maps.new_flows;
	auto_cleanup(cleanup_free) void *value = alloc_zeroed(1, bpf_map__value_size(map));

	memcpy(value, flow, sizeof(*flow));
	return table_set(map, key, value);
}

/*
 * Reads the one entry of a per-CPU map. Each word was written on at most one CPU, so the sum is
 * that word.
 */
static int read_one_cpu(const struct bpf_map *map, void *ret_value, size_t size)
{
	const __u32 zero = 0;
	const size_t value_size = bpf_map__value_size(map);
	auto_cleanup(cleanup_free) void *values = map_cpu_values_new(value_size);
	auto_cleanup(cleanup_free) void *sum = alloc_zeroed(1, value_size);
	int err =
		values ? map_lookup_sum(bpf_map__fd(map), &zero, value_size, values, sum) : -ENOMEM;

	if (err)
		return err;
	memcpy(ret_value, sum, size);
	return 0;
}

/*
 * If the programs know one address only, adds the client's as the node's own: the egress program
 * ignores packets from other sources.
 */
static int client_set(struct instance *instance, const struct flow_key *tuple)
{
	static const struct address_info own = {.flags = ADDRESS_NODE};

	if (address_is_zero(&instance->loopback) || address_equal(&instance->loopback, &tuple->src))
		return 0;
	return table_set(instance->tc->maps.addresses, &tuple->src, &own);
}

static int outcome_read(const struct instance *instance, const struct flow_key *tuple,
			struct outcome *outcome)
{
	const struct tc_bpf *tc = instance->tc;
	struct counter counters[COUNTER_COUNT] = {};
	int err = read_one_cpu(tc->maps.flow_drafts, &outcome->decision, sizeof(outcome->decision));

	if (err)
		return err;
	err = read_one_cpu(tc->maps.counters, counters, sizeof(counters));
	if (err)
		return err;
	for (__u32 reason = 0; reason < COUNTER_COUNT; reason++)
		outcome->counted[reason] = counters[reason].packets;
	outcome->has_flow =
		!bpf_map_lookup_elem(bpf_map__fd(tc->maps.new_flows), tuple, &outcome->flow);
	return 0;
}

static int complain_of_run(int err)
{
	complain("the programs cannot be run for a test (BPF_PROG_RUN): %s", strerror(-err));
	return err;
}

int instance_run(struct instance *instance, const struct flow_key *tuple, bool opens,
		 struct outcome *ret_outcome)
{
	struct link_info link = {0};
	struct test_frame frame;
	struct __sk_buff context = {
		.ifindex = instance->ifindex,
		.ingress_ifindex = instance->is_egress ? 0 : instance->ifindex,
	};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_out = ret_outcome->frame.bytes,
		    .data_size_out = sizeof(ret_outcome->frame.bytes), .ctx_in = &context,
		    .ctx_size_in = sizeof(context));
	int err;

	/* Address the frame to the link, so that the stack would accept it. */
	(void)bpf_map_lookup_elem(bpf_map__fd(instance->tc->maps.links), &context.ifindex, &link);
	frame = test_frame_build(tuple, opens, link.mac);
	run.data_in = frame.bytes;
	run.data_size_in = frame.size;
	*ret_outcome = (struct outcome){0};
	err = client_set(instance, tuple);
	if (err)
		return complain_of_run(err);
	err = bpf_prog_test_run_opts(bpf_program__fd(instance->program), &run);
	if (err)
		return complain_of_run(err);
	err = outcome_read(instance, tuple, ret_outcome);
	if (err)
		return complain_of_run(err);
	ret_outcome->verdict = (int)run.retval;
	ret_outcome->frame.size = run.data_size_out;
	return 0;
}

int instance_forget(struct instance *instance)
{
	const struct tc_bpf *tc = instance->tc;
	const struct bpf_map *const hashes[] = {tc->maps.flows, tc->maps.new_flows,
						tc->maps.affinity};
	const struct bpf_map *const arrays[] = {tc->maps.counters, tc->maps.flow_drafts,
						tc->maps.reject_budget};

	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++)
		tables_empty(hashes[i]);
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		int err = tables_zero(arrays[i]);

		if (err) {
			complain("cannot clear a map of the programs that explain: %s",
				 strerror(-err));
			return err;
		}
	}
	return 0;
}
