/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/status_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "base/text.h"
#include "cli/alloc.h"
#include "cli/snapshot.h"
#include "link/hooks/other_instance.h"
#include "words/words.h"

static void agent_read(const void *key, const void *value, void *context)
{
	struct status_facts *facts = context;

	(void)key;
	memcpy(&facts->agent, value, sizeof(facts->agent));
	(void)text_of_array(facts->agent.version, facts->version);
	(void)text_of_array(facts->agent.source, facts->source);
	(void)text_of_array(facts->agent.node_name, facts->node_name);
	(void)text_of_array(facts->agent.cgroup, facts->cgroup);
}

/*
 * The process that holds the lock of the pin directory, as an agent does while it runs; 0: none.
 * Read from /proc/locks, which shows process ids of our own namespace: trying the lock could keep
 * an agent that starts at this moment from getting it.
 */
static __u32 agent_find(const char *pin_dir)
{
	auto_cleanup(cleanup_file) FILE *file = fopen("/proc/locks", "re");
	struct stat dir;
	char line[256];

	while (file && !stat(pin_dir, &dir) && fgets(line, sizeof(line), file)) {
		unsigned int device_major, device_minor, pid;
		unsigned long inode;

		if (sscanf(line, "%*d: FLOCK ADVISORY WRITE %u %x:%x:%lu", &pid, &device_major,
			   &device_minor, &inode) == 4 &&
		    device_major == major(dir.st_dev) && device_minor == minor(dir.st_dev) &&
		    inode == dir.st_ino)
			return pid;
	}
	return 0;
}

/* When a process began, by CLOCK_MONOTONIC, to a tick of /proc; 0: unknown. */
static uint64_t process_started_ns(__u32 pid)
{
	auto_cleanup(cleanup_free) char *path = alloc_format("/proc/%u/stat", pid);
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "re");
	const uint64_t suspended_ns = clock_since(clock_read_ns(CLOCK_BOOTTIME), clock_now_ns());
	const uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t ticks;
	char line[1024];
	const char *rest;

	/* Parse from the end of the program's name, which may hold any character. */
	if (!file || !fgets(line, sizeof(line), file) || !(rest = strrchr(line, ')')) ||
	    sscanf(rest,
		   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
		   "%" SCNu64,
		   &ticks) != 1)
		return 0;
	return clock_since(ticks * tick_ns, suspended_ns);
}

/*
 * Finds the agent that runs. One that starts has not reported yet: the map has the report of the
 * run before.
 */
static void agent_gather(const char *pin_dir, struct status_facts *facts)
{
	facts->running_pid = agent_find(pin_dir);
	facts->is_starting = facts->running_pid &&
			     (!facts->agent.pid ||
			      facts->agent.started_ns < process_started_ns(facts->running_pid));
}

static bool other_hook_seen(void *context, int link, const struct bpf_link_info *info)
{
	(void)link;
	(void)info;
	*(bool *)context = true;
	return false;
}

/*
 * Whether there are hooks of another instance where the agent's are. An agent without CAP_SYS_ADMIN
 * cannot tell; whoever runs this command may. Only in the agent's network namespace.
 */
static bool other_instance_is_seen(const struct status_facts *facts)
{
	auto_cleanup(cleanup_free) char *path = alloc_format("/proc/%u/ns/net", facts->running_pid);
	struct stat agent, self;
	bool is_seen = false;

	if (!facts->running_pid || stat(path, &agent) || stat("/proc/self/ns/net", &self) ||
	    agent.st_ino != self.st_ino)
		return false;
	(void)other_instance_find(facts->pin_dir, *facts->cgroup ? facts->cgroup : NULL,
				  OTHER_INSTANCE_SETTLE_MS, other_hook_seen, &is_seen);
	return is_seen;
}

static void counters_read(const void *key, const void *value, void *context)
{
	struct status_facts *facts = context;

	(void)key;
	memcpy(facts->counters, value, sizeof(facts->counters));
}

static void entry_count(const void *key, const void *value, void *context)
{
	uint64_t *count = context;

	(void)key;
	(void)value;
	(*count)++;
}

struct flow_counts {
	uint64_t entries;
	uint64_t flows;
};

static void flow_count(const void *key, const void *value, void *context)
{
	struct flow_counts *counts = context;
	struct flow_key flow_key;

	(void)value;
	memcpy(&flow_key, key, sizeof(flow_key));
	counts->entries++;
	counts->flows += flow_key.direction == FLOW_ORIGINAL;
}

/* Counts the entries of `addresses`, and those among them with an entry in `address_flows`. */
static void address_count(const void *key, const void *value, void *context)
{
	struct status_facts *facts = context;
	struct address_info info;

	(void)key;
	memcpy(&info, value, sizeof(info));
	facts->maps[MAP_ADDRESSES].used++;
	facts->maps[MAP_ADDRESS_FLOWS].used += info.index != 0;
}

static int flows_gather(const struct shown_maps *maps, enum map_id id, struct status_facts *facts,
			uint64_t *ret_flows)
{
	struct flow_counts counts = {0};
	int err = shown_map_read(maps, id, flow_count, &counts);

	facts->maps[id].used = counts.entries;
	*ret_flows = counts.flows;
	return err;
}

static void services_gather(const struct snapshot *snapshot, struct status_facts *facts)
{
	for (__u32 id = 0; id < snapshot->service_count; id++) {
		const struct service *service = snapshot_service(snapshot, id);

		if (!service)
			continue;
		facts->programmed++;
		facts->refusing += service_verdict(service) == VERDICT_REFUSE;
		facts->dropping += service_verdict(service) == VERDICT_DROP;
	}
	for (__u32 id = 0; id < snapshot->backend_count; id++)
		facts->maps[MAP_BACKENDS].used += snapshot_backend(snapshot, id, 0) != NULL;
	/* Those whose address another Service has are programmed all the same. */
	for (size_t i = 0; i < snapshot->unprogrammed_count; i++)
		facts->unprogrammed += snapshot->unprogrammed[i].value.reason != UNPROGRAMMED_TAKEN;
	facts->maps[MAP_SERVICES].used = facts->programmed;
	facts->maps[MAP_SLOTS].used = snapshot_slots_used(snapshot);
	facts->maps[MAP_FRONTENDS].used = snapshot->frontend_count;
	facts->maps[MAP_UNPROGRAMMED].used = snapshot->unprogrammed_count;
}

static int fills_gather(const struct shown_maps *maps, struct status_facts *facts)
{
	static const enum map_id counted[] = {MAP_SERVICE_NAMES, MAP_AFFINITY, MAP_LINKS,
					      MAP_FRAGMENTS};

	for (int id = 0; id < MAP_COUNT; id++) {
		struct map_fill *fill = &facts->maps[id];

		if (!(MAPS_SHOWN & MAP_BIT(id)))
			continue;
		fill->is_counted =
			id != MAP_COUNTERS && id != MAP_SERVICE_STATS && id != MAP_AGENT_STATUS;
		fill->max = maps->items[id].max_entries;
		fill->bytes = map_memory(maps->items[id].fd);
		facts->map_bytes += fill->bytes;
	}
	/* Index 0 of these maps is never used. */
	facts->maps[MAP_SERVICES].max--;
	facts->maps[MAP_BACKENDS].max--;
	facts->maps[MAP_ADDRESS_FLOWS].max--;
	for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
		int err = shown_map_read(maps, counted[i], entry_count,
					 &facts->maps[counted[i]].used);

		if (err)
			return err;
	}
	return shown_map_read(maps, MAP_ADDRESSES, address_count, facts);
}

const char *node_verdict_word(enum node_verdict verdict)
{
	static const char *const words[] = {
		[NODE_OK] = "OK",
		[NODE_NOTE] = "NOTE",
		[NODE_DEGRADED] = "DEGRADED",
		[NODE_DOWN] = "DOWN",
	};

	return words[verdict];
}

static void degraded_add(struct status_facts *facts, bool is_harmful, const char *word,
			 const char *sentence)
{
	enum node_verdict least = is_harmful ? NODE_DEGRADED : NODE_NOTE;

	facts->degraded[facts->degraded_count++] = (struct degraded_item){
		.is_harmful = is_harmful, .word = word, .sentence = sentence};
	if (facts->verdict < least)
		facts->verdict = least;
}

/* Names the pins of the agent: without them its own hooks would count as another's. */
static const char *other_instance_sentence(struct status_facts *facts, const char *meaning)
{
	free(facts->other_instance_sentence);
	facts->other_instance_sentence =
		alloc_format("%s: `fairlead cleanup --others --pin-dir %s%s%s`", meaning,
			     facts->pin_dir, *facts->cgroup ? " --cgroup " : "", facts->cgroup);
	return facts->other_instance_sentence;
}

static void degraded_gather(struct status_facts *facts)
{
	__u32 known = 0;

	facts->verdict = facts->running_pid ? NODE_OK : NODE_DOWN;
	if (!facts->running_pid)
		degraded_add(facts, true, "agent-not-running",
			     "no agent runs: the datapath goes on without it, but does not "
			     "follow changes of Services and endpoints");
	else if (facts->is_starting || !facts->agent.synced_ns)
		degraded_add(facts, true, "not-synced",
			     "the first complete read of the source is not published yet: "
			     "Services may be missing or outdated");
	for (const struct degraded_words *words = degraded_words; words->bit; words++) {
		known |= words->bit;
		if (facts->agent.degraded & words->bit)
			degraded_add(facts, words->is_harmful, words->word,
				     words->bit == DEGRADED_OTHER_INSTANCE
					     ? other_instance_sentence(facts, words->sentence)
					     : words->sentence);
	}
	if (facts->agent.degraded & ~known)
		degraded_add(facts, true, "unknown",
			     "the agent reports something that this version of the command does "
			     "not know");
}

static void other_proxy_gather(struct status_facts *facts)
{
	if (!other_proxy_find(facts->other_proxy))
		return;
	(void)snprintf(facts->other_proxy_sentence, sizeof(facts->other_proxy_sentence),
		       OTHER_PROXY_NOTE, facts->other_proxy);
	degraded_add(facts, false, "other-proxy", facts->other_proxy_sentence);
}

bool status_facts_are_well(const char *pin_dir)
{
	auto_cleanup(cleanup_free) char *path = pinned_map_path(pin_dir, MAP_AGENT_STATUS);
	struct bpf_map_info info;
	auto_cleanup(cleanup_fd) int fd = pinned_map_open(path, &info);
	auto_cleanup(status_facts_fini) struct status_facts facts = {.pin_dir = pin_dir};

	if (fd < 0 || info.value_size != sizeof(facts.agent) || map_each(fd, agent_read, &facts))
		return false;
	agent_gather(pin_dir, &facts);
	degraded_gather(&facts);
	return facts.verdict <= NODE_NOTE;
}

int status_facts_gather(const struct shown_maps *maps, struct status_facts *facts)
{
	auto_cleanup(snapshot_fini) struct snapshot snapshot = {0};
	int err;

	*facts = (struct status_facts){.pin_dir = maps->pin_dir};
	(void)uname(&facts->kernel);
	err = shown_map_read(maps, MAP_AGENT_STATUS, agent_read, facts);
	if (err)
		return err;
	err = snapshot_read(maps, &snapshot);
	if (err)
		return err;
	services_gather(&snapshot, facts);
	err = fills_gather(maps, facts);
	if (err)
		return err;
	err = flows_gather(maps, MAP_FLOWS, facts, &facts->confirmed_flows);
	if (err)
		return err;
	err = flows_gather(maps, MAP_NEW_FLOWS, facts, &facts->new_flows);
	if (err)
		return err;
	err = shown_map_read(maps, MAP_COUNTERS, counters_read, facts);
	if (err)
		return err;
	err = link_list_read(maps, &facts->links);
	if (err)
		return err;
	facts->now_ns = clock_now_ns();
	agent_gather(facts->pin_dir, facts);
	if (facts->running_pid) {
		auto_cleanup(cleanup_free) char *path =
			alloc_format("/proc/%u/status", facts->running_pid);

		facts->agent_anonymous = file_number(path, "RssAnon:") * 1024;
		facts->agent_rss = file_number(path, "VmRSS:") * 1024;
	}
	if (other_instance_is_seen(facts))
		facts->agent.degraded |= DEGRADED_OTHER_INSTANCE;
	degraded_gather(facts);
	other_proxy_gather(facts);
	return 0;
}

void status_facts_fini(struct status_facts *facts)
{
	link_list_fini(&facts->links);
	free(facts->other_instance_sentence);
}

size_t status_facts_links(const struct status_facts *facts, enum link_role role,
			  enum link_hook hook)
{
	size_t count = 0;

	for (size_t i = 0; i < facts->links.count; i++)
		count += facts->links.rows[i].info.role == role &&
			 facts->links.rows[i].info.hook == hook;
	return count;
}
