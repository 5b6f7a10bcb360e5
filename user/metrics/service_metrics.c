/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/service_metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/map.h"
#include "base/mapped_array.h"
#include "base/text.h"
#include "words/words.h"

#define VERDICT_COUNT (VERDICT_DROP + 1)
#define REASON_COUNT  (UNPROGRAMMED_TAKEN + 1)

/* An array map that the BPF programs and the publisher share, mapped read-only. */
struct array_view {
	const void *entries; /* NULL: it could not be mapped */
	uint32_t count;
	size_t entry_size;
};

static void array_unmap(const struct array_view *view)
{
	mapped_array_free(view->entries, view->count, view->entry_size);
}

static struct array_view array_map(const struct fairlead_metrics_source *source, enum map_id id,
				   size_t entry_size)
{
	int fd = source->map(id, source->context);
	struct array_view view = {.count = fd < 0 ? 0 : map_max_entries(fd),
				  .entry_size = entry_size};

	if (view.count)
		view.entries = mapped_array_view(fd, view.count, entry_size);
	return view;
}

/* A service port whose traffic is exported. */
struct exported_service {
	struct service_name name;
	struct service_stats stats;
};

struct survey {
	const struct service *services;
	uint32_t service_count;
	uint64_t verdicts[VERDICT_COUNT][2]; /* [1] is IPv6 */
	struct no_local_counts *no_local;
	/* Used only for series per service port. */
	int stats_map; /* -1: no such series */
	void *stats;   /* room for an entry of it */
	struct exported_service *exported;
	size_t exported_count, exported_room;
};

static void survey_fini(const struct survey *survey)
{
	free(survey->exported);
	free(survey->stats);
}

static void service_export(struct survey *survey, __u32 id, const struct service_name *name)
{
	struct exported_service *exported;

	if (array_reserve(&survey->exported, &survey->exported_room, survey->exported_count,
			  sizeof(*exported)))
		return;
	exported = &survey->exported[survey->exported_count];
	*exported = (struct exported_service){.name = *name};
	if (!map_lookup_sum(survey->stats_map, &id, sizeof(exported->stats), survey->stats,
			    &exported->stats))
		survey->exported_count++;
}

static void name_read(const void *key, const void *value, void *context)
{
	struct survey *survey = context;
	const struct service *service;
	struct service_name name;
	int is_ipv6;
	__u32 id;

	memcpy(&id, key, sizeof(id));
	memcpy(&name, value, sizeof(name));
	service = id < survey->service_count ? &survey->services[id] : NULL;
	if (!service || !(service->flags & SERVICE_IN_USE))
		return;
	is_ipv6 = name.family == FAMILY_IPV6;
	survey->verdicts[service_verdict(service)][is_ipv6]++;
	if (!service->local_slots.count && service->local_slots.first == EMPTY_DROP) {
		survey->no_local->internal[is_ipv6] += !!(service->flags & SERVICE_INTERNAL_LOCAL);
		survey->no_local->external[is_ipv6] += !!(service->flags & SERVICE_EXTERNAL_LOCAL);
	}
	if (survey->stats_map >= 0)
		service_export(survey, id, &name);
}

static void verdicts_write(FILE *out, const struct survey *survey)
{
	exposition_family(out, "fairlead_service_ports", METRIC_GAUGE,
			  "Service ports that are programmed, by what happens to their clients.");
	for (int verdict = 0; verdict < VERDICT_COUNT; verdict++) {
		for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
			const struct metric_label labels[] = {
				{"ip_family", is_ipv6 ? "IPv6" : "IPv4"},
				{"state", service_verdict_word((enum service_verdict)verdict)},
			};

			exposition_sample(out, "fairlead_service_ports", "", labels, 2,
					  (double)survey->verdicts[verdict][is_ipv6]);
		}
	}
}

static void exported_family_write(FILE *out, const struct survey *survey, const char *name,
				  const char *help, size_t offset)
{
	char namespace_[NAME_SIZE + 1], service[NAME_SIZE + 1], port[NAME_SIZE + 1];

	exposition_family(out, name, METRIC_COUNTER, help);
	for (size_t i = 0; i < survey->exported_count; i++) {
		const struct exported_service *exported = &survey->exported[i];
		const struct metric_label labels[] = {
			{"namespace", text_of_array(exported->name.namespace_, namespace_)},
			{"service", text_of_array(exported->name.name, service)},
			{"port", text_of_array(exported->name.port_name, port)},
			{"protocol", proto_name(exported->name.proto)},
			{"ip_family", family_word(exported->name.family)},
		};
		__u64 value;

		memcpy(&value, (const char *)&exported->stats + offset, sizeof(value));
		exposition_sample(out, name, "", labels, sizeof(labels) / sizeof(labels[0]),
				  (double)value);
	}
}

static void exported_write(FILE *out, const struct survey *survey)
{
	exported_family_write(out, survey, "fairlead_service_connections_total",
			      "Connections and flows that were given a backend.",
			      offsetof(struct service_stats, connections));
	exported_family_write(out, survey, "fairlead_service_packets_total",
			      "Packets translated by the TC hooks (with --count-packets).",
			      offsetof(struct service_stats, packets));
	exported_family_write(out, survey, "fairlead_service_bytes_total",
			      "Bytes of these packets (with --count-packets).",
			      offsetof(struct service_stats, bytes));
}

static void services_write(FILE *out, const struct fairlead_metrics_source *source,
			   struct no_local_counts *no_local)
{
	auto_cleanup(array_unmap) struct array_view services =
		array_map(source, MAP_SERVICES, sizeof(struct service));
	auto_cleanup(survey_fini) struct survey survey = {
		.services = services.entries,
		.service_count = services.entries ? services.count : 0,
		.no_local = no_local,
		.stats_map = -1,
	};

	if (source->with_services) {
		survey.stats = map_cpu_values_new(sizeof(struct service_stats));
		if (survey.stats)
			survey.stats_map = source->map(MAP_SERVICE_STATS, source->context);
	}
	if (map_each(source->map(MAP_SERVICE_NAMES, source->context), name_read, &survey))
		return;
	verdicts_write(out, &survey);
	if (source->with_services)
		exported_write(out, &survey);
}

static void backends_write(FILE *out, const struct fairlead_metrics_source *source)
{
	auto_cleanup(array_unmap) struct array_view view =
		array_map(source, MAP_BACKENDS, sizeof(struct backend));
	const struct backend *backends = view.entries;
	struct {
		enum backend_state state;
		__u32 flags;
		uint64_t count;
	} rows[] = {{BACKEND_ACTIVE, 0, 0},
		    {BACKEND_DRAINING, BACKEND_UNUSED, 0},
		    {BACKEND_DRAINING, 0, 0},
		    {BACKEND_DEAD, 0, 0}};
	const size_t row_count = sizeof(rows) / sizeof(rows[0]);

	if (!backends)
		return;
	for (uint32_t id = 1; id < view.count; id++) {
		size_t row = 0;

		while (row < row_count && (rows[row].state != backends[id].state ||
					   rows[row].flags & ~backends[id].flags))
			row++;
		if (row < row_count)
			rows[row].count++;
	}
	exposition_family(out, "fairlead_backends", METRIC_GAUGE, "Backends by state.");
	for (size_t i = 0; i < row_count; i++) {
		const struct metric_label label = {
			"state", backend_state_word(rows[i].state, rows[i].flags)};

		exposition_sample(out, "fairlead_backends", "", &label, 1, (double)rows[i].count);
	}
}

static void reason_count(const void *key, const void *value, void *context)
{
	uint64_t *counts = context;
	struct unprogrammed unprogrammed;

	(void)key;
	memcpy(&unprogrammed, value, sizeof(unprogrammed));
	if (unprogrammed.reason < REASON_COUNT)
		counts[unprogrammed.reason]++;
}

static void unprogrammed_write(FILE *out, const struct fairlead_metrics_source *source)
{
	uint64_t counts[REASON_COUNT] = {};

	if (map_each(source->map(MAP_UNPROGRAMMED, source->context), reason_count, counts))
		return;
	exposition_family(out, "fairlead_unprogrammed", METRIC_GAUGE,
			  "Services, or ports of them, that are not programmed, by reason.");
	for (__u32 reason = UNPROGRAMMED_HEADLESS; reason < REASON_COUNT; reason++) {
		const struct metric_label label = {"reason", unprogrammed_word(reason)};

		if (!unprogrammed_is_known(reason))
			continue;
		exposition_sample(out, "fairlead_unprogrammed", "", &label, 1,
				  (double)counts[reason]);
	}
}

void service_metrics_write(FILE *out, const struct fairlead_metrics_source *source,
			   struct no_local_counts *ret_no_local)
{
	*ret_no_local = (struct no_local_counts){};
	services_write(out, source, ret_no_local);
	backends_write(out, source);
	unprogrammed_write(out, source);
}
