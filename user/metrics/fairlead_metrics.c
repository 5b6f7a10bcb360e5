/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/fairlead_metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/text.h"
#include "decode/manifest_check.h"
#include "metrics/flow_survey.h"
#include "metrics/service_metrics.h"
#include "words/words.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const double publish_buckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
					 0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};

static const struct metric_spec published_spec = {
	"fairlead_publishes_total", "Publishes, by result.", METRIC_COUNTER, {"result"}, NULL, 0};
static const struct metric_spec duration_spec = {
	"fairlead_publish_duration_seconds",
	"Time from the wake-up that brought a change until it was published.",
	METRIC_HISTOGRAM,
	{},
	publish_buckets,
	COUNT_OF(publish_buckets)};
static const struct metric_spec reachable_spec = {
	"fairlead_source_reachable",
	"Whether the source of objects can be reached (1).",
	METRIC_GAUGE,
	{},
	NULL,
	0};

static const struct metric_spec socket_hooks_spec = {"fairlead_socket_hooks",
						     "Socket hooks, by whether they are attached.",
						     METRIC_GAUGE,
						     {"state"},
						     NULL,
						     0};
static const struct metric_spec hooks_lost_spec = {
	"fairlead_hooks_lost_total",
	"Hooks that somebody else has removed or replaced.",
	METRIC_COUNTER,
	{"hook"},
	NULL,
	0};
static const struct metric_spec events_spec = {"fairlead_node_events_total",
					       "Kubernetes Events about the Node, by result.",
					       METRIC_COUNTER,
					       {"result"},
					       NULL,
					       0};

static const struct metric_spec warnings_spec = {
	"fairlead_manifest_warnings_total",
	"What may be a mistake in the manifests of --manifests, by reason.",
	METRIC_COUNTER,
	{"reason"},
	NULL,
	0};

struct fairlead_metrics {
	struct fairlead_metrics_source source;
	struct kube_proxy_metrics *kube_proxy;
	struct flow_survey *flows;
	struct metric *published, *duration, *reachable, *socket_hooks, *hooks_lost, *events,
		*warnings;
};

/* The counters of the datapath form three families, by the first word of their sentences. */
struct counter_family {
	const char *name;
	const char *help;
	const char *label;
	const char *begins; /* NULL: every other counter */
};

static const struct counter_family counter_families[] = {
	{"fairlead_drops_total", "Packets dropped, by reason.", "reason", "dropped: "},
	{"fairlead_rejects_total", "Packets and connections refused, by reason.", "reason",
	 "refused: "},
	{"fairlead_events_total", "What else the datapath counts.", "event", NULL},
};

static const struct counter_family *counter_family_of(__u32 reason)
{
	const char *sentence = counter_sentence(reason);
	size_t i = 0;

	while (counter_families[i].begins && strncmp(sentence, counter_families[i].begins,
						     strlen(counter_families[i].begins)) != 0)
		i++;
	return &counter_families[i];
}

static void counters_write(FILE *out, const struct fairlead_metrics_source *source)
{
	auto_cleanup(cleanup_free) void *values = map_cpu_values_new(sizeof(struct counters));
	struct counter counters[COUNTER_COUNT] = {};
	const __u32 zero = 0;

	if (!values || map_lookup_sum(source->map(MAP_COUNTERS, source->context), &zero,
				      sizeof(counters), values, counters))
		return;
	for (size_t i = 0; i < COUNT_OF(counter_families); i++) {
		const struct counter_family *family = &counter_families[i];

		exposition_family(out, family->name, METRIC_COUNTER, family->help);
		for (__u32 reason = 0; reason < COUNTER_COUNT; reason++) {
			const struct metric_label label = {family->label, counter_word(reason)};

			if (counter_family_of(reason) == family)
				exposition_sample(out, family->name, "", &label, 1,
						  (double)counters[reason].packets);
		}
	}
}

static void maps_write(FILE *out, const struct fairlead_metrics_source *source,
		       const struct publisher_numbers *numbers, const struct flow_counts *flows)
{
	/* Entries are exported only where a count exists; those of LRU maps are not counted. */
	const struct {
		enum map_id id;
		double entries; /* negative: not counted */
	} maps[] = {
		{MAP_SERVICES, numbers->service_ports},
		{MAP_FRONTENDS, numbers->frontends},
		{MAP_SLOTS, numbers->slots},
		{MAP_BACKENDS, numbers->backends},
		{MAP_FLOWS, flows ? (double)flows->entries : -1},
		{MAP_NEW_FLOWS, -1},
		{MAP_AFFINITY, -1},
		{MAP_ADDRESSES, numbers->addresses},
		{MAP_FRAGMENTS, -1},
		{MAP_OWN_REPLIES, -1},
		{MAP_UNPROGRAMMED,
		 (double)map_count(source->map(MAP_UNPROGRAMMED, source->context))},
		{MAP_LINKS, (double)map_count(source->map(MAP_LINKS, source->context))},
	};

	exposition_family(out, "fairlead_map_entries", METRIC_GAUGE, "Entries of maps in use.");
	for (size_t i = 0; i < COUNT_OF(maps); i++) {
		const struct metric_label label = {"map", map_table[maps[i].id].name};

		if (maps[i].entries >= 0)
			exposition_sample(out, "fairlead_map_entries", "", &label, 1,
					  maps[i].entries);
	}
	exposition_family(out, "fairlead_map_max_entries", METRIC_GAUGE,
			  "Capacity of maps, in entries.");
	for (size_t i = 0; i < COUNT_OF(maps); i++) {
		const struct metric_label label = {"map", map_table[maps[i].id].name};

		exposition_sample(out, "fairlead_map_max_entries", "", &label, 1,
				  map_max_entries(source->map(maps[i].id, source->context)));
	}
	exposition_family(out, "fairlead_map_memory_bytes", METRIC_GAUGE,
			  "Memory that the kernel accounts to maps.");
	for (int id = 0; id < MAP_COUNT; id++) {
		const struct metric_label label = {"map", map_table[id].name};
		const uint64_t bytes = map_memory(source->map((enum map_id)id, source->context));

		if (bytes)
			exposition_sample(out, "fairlead_map_memory_bytes", "", &label, 1,
					  (double)bytes);
	}
}

static void flows_write(FILE *out, const struct flow_counts *flows)
{
	exposition_family(out, "fairlead_flows", METRIC_GAUGE,
			  "Answered flows by state, at most 30 seconds old.");
	for (unsigned int state = FLOW_REPLIED; state <= FLOW_CLOSED; state++) {
		for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
			const struct metric_label labels[] = {
				{"ip_family", is_ipv6 ? "IPv6" : "IPv4"},
				{"state", flow_state_word(state)},
			};

			exposition_sample(out, "fairlead_flows", "", labels, 2,
					  (double)flows->flows[state][is_ipv6]);
		}
	}
}

struct link_counts {
	uint64_t links[LINK_OVERLAY + 1][LINK_HOOK_FAILED + 1];
	uint64_t native, generic, off; /* uplinks by XDP mode */
	struct link_info failed[64];   /* the first failed links */
	size_t failed_count;
};

static void link_count(const void *key, const void *value, void *context)
{
	struct link_counts *counts = context;
	struct link_info info;

	(void)key;
	memcpy(&info, value, sizeof(info));
	if (info.role > LINK_OVERLAY || info.hook > LINK_HOOK_FAILED)
		return;
	counts->links[info.role][info.hook]++;
	counts->native += info.xdp == LINK_XDP_NATIVE;
	counts->generic += info.xdp == LINK_XDP_GENERIC;
	counts->off += info.xdp > LINK_XDP_GENERIC;
	if (info.hook == LINK_HOOK_FAILED && counts->failed_count < COUNT_OF(counts->failed))
		counts->failed[counts->failed_count++] = info;
}

static void xdp_links_write(FILE *out, const struct link_counts *counts)
{
	const struct {
		const char *mode;
		uint64_t count;
	} modes[] = {
		{"native", counts->native},
		{"generic", counts->generic},
		{"off", counts->off},
	};

	exposition_family(out, "fairlead_xdp_links", METRIC_GAUGE, "Uplinks by XDP mode.");
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		const struct metric_label label = {"mode", modes[i].mode};

		exposition_sample(out, "fairlead_xdp_links", "", &label, 1, (double)modes[i].count);
	}
}

static void links_write(FILE *out, const struct fairlead_metrics_source *source)
{
	struct link_counts counts = {};
	char name[LINK_NAME_SIZE + 1];

	if (map_each(source->map(MAP_LINKS, source->context), link_count, &counts))
		return;
	exposition_family(out, "fairlead_links", METRIC_GAUGE, "Links by role and TC hook.");
	for (unsigned int role = LINK_POD; role <= LINK_OVERLAY; role++) {
		for (unsigned int hook = LINK_HOOK_NONE; hook <= LINK_HOOK_FAILED; hook++) {
			const struct metric_label labels[] = {{"role", link_role_word(role)},
							      {"hook", link_hook_word(hook)}};

			exposition_sample(out, "fairlead_links", "", labels, 2,
					  (double)counts.links[role][hook]);
		}
	}
	xdp_links_write(out, &counts);
	exposition_family(out, "fairlead_link_failed", METRIC_GAUGE,
			  "Links that could not be given their hook; always 1.");
	for (size_t i = 0; i < counts.failed_count; i++) {
		const struct metric_label label = {"link",
						   text_of_array(counts.failed[i].name, name)};

		exposition_sample(out, "fairlead_link_failed", "", &label, 1, 1);
	}
}

static void status_write(FILE *out, const struct agent_status *status)
{
	const struct metric_label version = {"version", FAIRLEAD_VERSION};

	exposition_family(out, "fairlead_build_info", METRIC_GAUGE,
			  "The program's version; always 1.");
	exposition_sample(out, "fairlead_build_info", "", &version, 1, 1);
	exposition_single(out, "fairlead_agent_synced", METRIC_GAUGE,
			  "Whether the first complete read of the source is published (1).",
			  status->synced_ns != 0);
	exposition_single(out, "fairlead_rejected_objects_total", METRIC_COUNTER,
			  "Objects of the source that could not be used.",
			  (double)status->rejected_objects);
	exposition_single(out, "fairlead_refused_service_ports_total", METRIC_COUNTER,
			  "Service ports not published because a map was full.",
			  (double)status->refused_service_ports);
	exposition_single(out, "fairlead_changed_service_ports_total", METRIC_COUNTER,
			  "Service ports changed by publishes.",
			  (double)status->changed_service_ports);
	exposition_family(out, "fairlead_degraded", METRIC_GAUGE,
			  "What this node lacks (1); `fairlead status` says what it means.");
	for (const struct degraded_words *words = degraded_words; words->bit; words++) {
		const struct metric_label label = {"feature", words->word};

		exposition_sample(out, "fairlead_degraded", "", &label, 1,
				  !!(status->degraded & words->bit));
	}
}

static void fairlead_metrics_collect(FILE *out, void *context)
{
	struct fairlead_metrics *fairlead = context;
	const struct fairlead_metrics_source *source = &fairlead->source;
	const struct flow_counts *flows;
	struct publisher_numbers numbers;
	struct no_local_counts no_local;

	status_write(out, source->status);
	if (!source->numbers(&numbers, source->context))
		return;
	exposition_single(out, "fairlead_unfitting_service_ports", METRIC_GAUGE,
			  "Service ports that do not fit into a map now.", numbers.unfitting);
	counters_write(out, source);
	links_write(out, source);
	flows = flow_survey_ask(fairlead->flows, source->map(MAP_FLOWS, source->context));
	if (flows)
		flows_write(out, flows);
	maps_write(out, source, &numbers, flows);
	service_metrics_write(out, source, &no_local);
	kube_proxy_metrics_no_local(fairlead->kube_proxy, FAMILY_IPV4, no_local.internal[0],
				    no_local.external[0]);
	kube_proxy_metrics_no_local(fairlead->kube_proxy, FAMILY_IPV6, no_local.internal[1],
				    no_local.external[1]);
}

static void fairlead_metrics_freep(struct fairlead_metrics **fairlead)
{
	fairlead_metrics_free(*fairlead);
}

/* Creates the series with the value 0, so that they exist before the first event. */
static void fairlead_metrics_set_zeros(struct fairlead_metrics *fairlead)
{
	metric_add(fairlead->published, (const char *const[]){"ok"}, 0);
	metric_add(fairlead->published, (const char *const[]){"failed"}, 0);
	fairlead_metrics_socket_hooks(fairlead, 0, 0);
	fairlead_metrics_hooks_lost(fairlead, "tc", 0);
	fairlead_metrics_hooks_lost(fairlead, "xdp", 0);
	fairlead_metrics_hooks_lost(fairlead, "socket", 0);
	metric_add(fairlead->events, (const char *const[]){"posted"}, 0);
	metric_add(fairlead->events, (const char *const[]){"failed"}, 0);
	metric_add(fairlead->events, (const char *const[]){"folded"}, 0);
	for (unsigned int warning = 0; warning < WARNING_COUNT; warning++)
		metric_add(fairlead->warnings,
			   (const char *const[]){manifest_warning_word(warning)}, 0);
}

struct fairlead_metrics *fairlead_metrics_new(uv_loop_t *loop, struct metrics *metrics,
					      struct kube_proxy_metrics *kube_proxy,
					      const struct fairlead_metrics_source *source)
{
	auto_cleanup(fairlead_metrics_freep) struct fairlead_metrics *fairlead =
		calloc(1, sizeof(*fairlead));

	if (!fairlead)
		return NULL;
	fairlead->source = *source;
	fairlead->kube_proxy = kube_proxy;
	fairlead->flows = flow_survey_new(loop);
	fairlead->published = metrics_add(metrics, &published_spec);
	fairlead->duration = metrics_add(metrics, &duration_spec);
	fairlead->reachable = metrics_add(metrics, &reachable_spec);
	fairlead->socket_hooks = metrics_add(metrics, &socket_hooks_spec);
	fairlead->hooks_lost = metrics_add(metrics, &hooks_lost_spec);
	fairlead->events = metrics_add(metrics, &events_spec);
	fairlead->warnings = metrics_add(metrics, &warnings_spec);
	if (!fairlead->flows || !fairlead->published || !fairlead->duration ||
	    !fairlead->reachable || !fairlead->socket_hooks || !fairlead->hooks_lost ||
	    !fairlead->events || !fairlead->warnings ||
	    metrics_add_collector(metrics, fairlead_metrics_collect, fairlead))
		return NULL;
	fairlead_metrics_set_zeros(fairlead);
	return take_ptr(fairlead);
}

void fairlead_metrics_free(struct fairlead_metrics *fairlead)
{
	if (!fairlead)
		return;
	flow_survey_close(fairlead->flows);
	free(fairlead);
}

void fairlead_metrics_published(struct fairlead_metrics *fairlead, bool is_well, double seconds)
{
	metric_add(fairlead->published, (const char *const[]){is_well ? "ok" : "failed"}, 1);
	metric_observe(fairlead->duration, NULL, seconds);
}

void fairlead_metrics_source_reachable(struct fairlead_metrics *fairlead, bool is_reachable)
{
	metric_set(fairlead->reachable, NULL, is_reachable);
}

void fairlead_metrics_socket_hooks(struct fairlead_metrics *fairlead, unsigned int attached,
				   unsigned int missing)
{
	metric_set(fairlead->socket_hooks, (const char *const[]){"attached"}, attached);
	metric_set(fairlead->socket_hooks, (const char *const[]){"missing"}, missing);
}

void fairlead_metrics_hooks_lost(struct fairlead_metrics *fairlead, const char *hook,
				 unsigned int count)
{
	metric_add(fairlead->hooks_lost, (const char *const[]){hook}, count);
}

void fairlead_metrics_event(struct fairlead_metrics *fairlead, const char *result)
{
	metric_add(fairlead->events, (const char *const[]){result}, 1);
}

void fairlead_metrics_manifest_warning(struct fairlead_metrics *fairlead, const char *why)
{
	metric_add(fairlead->warnings, (const char *const[]){why}, 1);
}
