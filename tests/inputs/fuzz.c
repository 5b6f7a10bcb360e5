/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Everything that comes from outside of the node's own kernel and operator, fed with what nobody
 * should send: libFuzzer makes the inputs, ASan and UBSan watch. FAIRLEAD_FUZZ_TARGET names which
 * reader it is about (`targets` below); tests/inputs/corpus/TARGET has inputs to begin with.
 *
 * Beyond not breaking, some readers have to keep a promise that is checked here: a stream that
 * arrives in pieces is the same stream.
 */

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api_server.h"
#include "config/kube_proxy_check.h"
#include "config/kube_proxy_config.h"
#include "config/traffic_options.h"
#include "decode/decode.h"
#include "decode/items.h"
#include "decode/json_stream.h"
#include "decode/manifest_check.h"
#include "http_requests.h"
#include "kernel_messages.h"
#include "kube/client/exec_credential.h"
#include "kube/client/servers.h"
#include "kube/config/config.h"
#include "link/netlink/netlink.h"
#include "model/cidr.h"
#include "model/model.h"
#include "plan/plan.h"
#include "plan_model.h"
#include "source/cluster_ips.h"

#define PIECES_MAX 8

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file = -1;
static char file_path[32];
static char folder[128], servers_path[160], cluster_ips_path[160];

static void folder_remove(void)
{
	(void)unlink(servers_path);
	(void)unlink(cluster_ips_path);
	(void)rmdir(folder);
}

static void kept_write(const char *path, const uint8_t *data, size_t size)
{
	FILE *kept = fopen(path, "we");

	if (!kept || fwrite(data, 1, size, kept) != size || fclose(kept))
		abort();
}

/* Puts an input where what reads a file finds it. */
static void file_fill(const uint8_t *data, size_t size)
{
	if (ftruncate(file, 0) || pwrite(file, data, size, 0) != (ssize_t)size)
		abort();
}

/* Objects, as they come in lists and files: decoded, in the model, planned. */

static void warning_ignore(enum manifest_warning warning, unsigned int line, const char *text,
			   void *context)
{
	(void)context;
	if (!line || !*text || !*manifest_warning_word(warning))
		abort(); /* where and what is always said */
}

static void problem_ignore(const char *text, void *context)
{
	(void)context;
	if (!*text)
		abort(); /* what is wrong is always said */
}

static int item_take(const cJSON *item, const struct decode_defaults *defaults, unsigned int line,
		     void *context)
{
	const struct decode_problems problems = {.found = problem_ignore};
	struct object *object = NULL;

	manifest_check(item, defaults, line, &(struct manifest_warnings){.found = warning_ignore});
	if (!object_decode(item, defaults, &problems, &object) && object)
		(void)model_put(context, object);
	return 0;
}

static void list_take(const cJSON *head, unsigned int line, void *context)
{
	(void)line;
	(void)context;
	manifest_check_list(head, &(struct manifest_warnings){.found = warning_ignore});
}

/* Some addresses are on a link of someone else's. */
static const char *link_find(const struct ip_addr *addr, void *context)
{
	(void)context;
	return addr->bytes[15] % 4 ? NULL : "lo";
}

static int service_plan(const char *namespace_, const char *name, void *context)
{
	const struct object *service = model_service(context, namespace_, name);
	const struct plan_context plan_context = {
		.node_name = "node1", .zone = "a", .link_with_address = link_find};
	const struct slice_object **slices = NULL;
	struct plan plan;
	int count = service ? model_slices(context, service, &slices) : -1;

	if (count >= 0 && !plan_service(&plan_context, service, slices, (size_t)count, &plan))
		plan_fini(&plan);
	free(slices);
	return 0;
}

void model_plan_changes(struct model *model)
{
	(void)model_drain_dirty(model, service_plan, model);
}

typedef int (*items_fn)(const char *text, size_t size, const struct items_receiver *receiver,
			struct items_error *ret_error);

static void items_read(items_fn items, const uint8_t *data, size_t size)
{
	struct items_receiver receiver = {item_take, list_take, model_new()};
	struct items_error error = {};
	char *text = malloc(size + 1);

	if (!text || !receiver.context)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (items(text, size, &receiver, &error) == -EINVAL && !*error.text)
		abort();
	model_plan_changes(receiver.context);
	model_free(receiver.context);
	free(text);
}

static void objects_fuzz(const uint8_t *data, size_t size)
{
	items_read(json_items, data, size);
}

static void manifests_fuzz(const uint8_t *data, size_t size)
{
	items_read(yaml_items, data, size);
}

/* Answers of an API server, in one piece and in several. */

struct received {
	char *text; /* all objects, one after the other */
	size_t size, count;
};

static int object_receive(char *text, size_t size, void *context)
{
	struct received *received = context;

	received->text = realloc(received->text, received->size + size + 1);
	if (!received->text)
		abort();
	memcpy(received->text + received->size, text, size);
	received->size += size;
	received->count++;
	return 0;
}

/* The first bytes say where the rest is cut. */
static int stream_feed(struct json_stream *stream, const uint8_t *data, size_t size,
		       const uint8_t *cuts, size_t cut_count)
{
	size_t done = 0, length;
	int err = 0;

	for (size_t i = 0; !err && i < cut_count && done < size; i++) {
		length = cuts[i] < size - done ? cuts[i] : size - done;
		err = json_stream_feed(stream, (const char *)data + done, length);
		done += length;
	}
	return err ? err : json_stream_feed(stream, (const char *)data + done, size - done);
}

static void stream_fuzz(enum json_shape shape, const uint8_t *data, size_t size)
{
	struct received whole = {}, pieces = {};
	struct json_stream one, many;
	size_t cut_count = size < PIECES_MAX ? size : PIECES_MAX;
	int err, pieces_err;

	json_stream_init(&one, shape, object_receive, &whole);
	json_stream_init(&many, shape, object_receive, &pieces);
	err = json_stream_feed(&one, (const char *)data + cut_count, size - cut_count);
	pieces_err = stream_feed(&many, data + cut_count, size - cut_count, data, cut_count);
	if (err != pieces_err || whole.count != pieces.count || whole.size != pieces.size ||
	    (whole.size && memcmp(whole.text, pieces.text, whole.size)) ||
	    json_stream_is_complete(&one) != json_stream_is_complete(&many))
		abort();
	json_stream_fini(&one);
	json_stream_fini(&many);
	free(whole.text);
	free(pieces.text);
}

static void list_fuzz(const uint8_t *data, size_t size)
{
	stream_fuzz(JSON_LIST, data, size);
}

static void watch_fuzz(const uint8_t *data, size_t size)
{
	stream_fuzz(JSON_EVENTS, data, size);
}

/* Files of the operator, and what a credential plugin prints. */

static void kubeconfig_fuzz(const uint8_t *data, size_t size)
{
	struct kube_config *config = NULL;

	file_fill(data, size);
	if (!kube_config_load(file_path, &config))
		kube_config_free(config);
}

/* What the check has let pass can be read. */
static void cidrs_read(const struct setting_values *values)
{
	struct cidr cluster[CLUSTER_CIDRS_MAX], nodeports[NODEPORT_ADDRESSES_MAX];
	struct cidr service[SERVICE_CIDRS_MAX];
	bool is_primary;
	const char *why = NULL;

	if (cluster_cidrs_parse(setting_text(values, SETTING_CLUSTER_CIDR), cluster, &why) < 0 ||
	    nodeport_addresses_parse(setting_text(values, SETTING_NODEPORT_ADDRESSES), nodeports,
				     &is_primary, &why) < 0)
		abort();
	/* Another list, of a flag, with the same text. */
	if (service_cidrs_parse(setting_text(values, SETTING_NODEPORT_ADDRESSES), service, &why) <
		    0 &&
	    (!why || !*why))
		abort();
}

static void kube_proxy_config_fuzz(const uint8_t *data, size_t size)
{
	struct setting_values values = {};
	struct setting_problem problem = {};
	struct name_list meaningless = {};
	struct config_mark mark;

	file_fill(data, size);
	if (!kube_proxy_config_read(file_path, &values, &meaningless, &mark) &&
	    !settings_complete(&values)) {
		if (!settings_check(&values, true, &problem))
			cidrs_read(&values);
		else if (!*problem.why || problem.id >= settings_count())
			abort();
	}
	setting_values_free(&values);
}

static struct object *service_without_ip(char *name, bool is_dual)
{
	struct object loose = {.kind = OBJECT_SERVICE, .namespace_ = "shop", .name = name};
	struct object *service;

	loose.service.ip_family_policy = is_dual ? FAMILY_POLICY_PREFER_DUAL : FAMILY_POLICY_SINGLE;
	service = object_new(&loose);
	if (!service)
		abort();
	return service;
}

/*
 * The file with the ClusterIPs that were chosen before, for Services that bring none: whatever it
 * has, those that are chosen now are of the ranges, and are found again by the next start.
 */
static void cluster_ips_fuzz(const uint8_t *data, size_t size)
{
	static const struct cidr ranges[] = {
		{{.bytes = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 98}}, 124},
		{{.bytes = {[0] = 0xfd, [3] = 0x98}}, 124},
	};
	static char *const names[] = {"web", "dns", "cart"}; /* the last one of both families */
	struct model *model = model_new();
	struct cluster_ips *ips, *next;

	kept_write(cluster_ips_path, data, size);
	ips = cluster_ips_new(ranges, 2, folder);
	if (!ips || !model)
		abort();
	for (size_t i = 0; i < 3; i++) {
		const char *why = NULL;
		int err = model_put(model, service_without_ip(names[i], i == 2));

		if (!err)
			err = cluster_ips_choose(ips, model, "shop", names[i], &why);
		if (err && (err != -EADDRNOTAVAIL || !why || !*why))
			abort();
	}
	cluster_ips_keep(ips);
	next = cluster_ips_new(ranges, 2, folder);
	if (!next)
		abort();
	for (size_t i = 0; i < 3; i++) {
		const struct service_object *chosen =
			&model_service(model, "shop", names[i])->service;
		struct object *service = service_without_ip(names[i], i == 2);

		cluster_ips_fill(next, service);
		if (service->service.cluster_ip_count != chosen->cluster_ip_count ||
		    memcmp(service->service.cluster_ips, chosen->cluster_ips,
			   sizeof(chosen->cluster_ips)))
			abort();
		for (size_t j = 0; j < chosen->cluster_ip_count; j++) {
			if (!cidr_has(&ranges[0], &chosen->cluster_ips[j]) &&
			    !cidr_has(&ranges[1], &chosen->cluster_ips[j]))
				abort();
		}
		object_free(service);
	}
	cluster_ips_free(next);
	cluster_ips_free(ips);
	model_free(model);
}

static void servers_fuzz(const uint8_t *data, size_t size)
{
	static char *const urls[] = {"https://10.0.0.1:6443"};
	struct servers servers;

	kept_write(servers_path, data, size);
	if (!servers_init(&servers, urls, 1, NULL, folder) && !servers_current(&servers)->name)
		abort();
	servers_fini(&servers);
}

static void exec_fuzz(const uint8_t *data, size_t size)
{
	struct kube_exec_result *result = NULL;
	const char *why = NULL;
	char *text = malloc(size + 1);
	int err;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	err = exec_credential_read(text, size, "client.authentication.k8s.io/v1", &result, &why);
	if (err == -EINVAL && (!why || !*why))
		abort();
	if (!err)
		kube_exec_result_free(result);
	free(text);
}

/* The kernel is trusted, its messages' lengths are checked all the same. */

static void link_ignore(void *context, const struct link_facts *facts)
{
	(void)context;
	if (strnlen(facts->name, sizeof(facts->name)) == sizeof(facts->name))
		abort();
}

static void gone_ignore(void *context, int ifindex)
{
	(void)context;
	(void)ifindex;
}

static void address_ignore(void *context, const struct link_address *address)
{
	(void)context;
	(void)address;
}

static void route_ignore(void *context, const struct route_hop *hop)
{
	(void)context;
	(void)hop;
}

/* One message: libmnl cuts a datagram into those, and trusts the kernel's frame of them. */
static void netlink_fuzz(const uint8_t *data, size_t size)
{
	struct netlink_events events = {.link = link_ignore,
					.link_gone = gone_ignore,
					.address = address_ignore,
					.address_gone = address_ignore,
					.route = route_ignore,
					.route_gone = route_ignore};
	struct nlmsghdr *message;

	if (size < sizeof(*message))
		return;
	message = calloc(1, MNL_ALIGN(size)); /* the kernel pads it */
	if (!message)
		abort();
	memcpy(message, data, size);
	message->nlmsg_len = (__u32)size;
	(void)netlink_message(message, &events);
	free(message);
}

static const struct target {
	const char *name;
	void (*fuzz)(const uint8_t *data, size_t size);
	void (*begin)(void); /* may be NULL */
} targets[] = {
	{"objects", objects_fuzz, NULL},
	{"manifests", manifests_fuzz, NULL},
	{"list", list_fuzz, NULL},
	{"watch", watch_fuzz, NULL},
	{"kubeconfig", kubeconfig_fuzz, NULL},
	{"kube_proxy_config", kube_proxy_config_fuzz, NULL},
	{"cluster_ips", cluster_ips_fuzz, NULL},
	{"servers", servers_fuzz, NULL},
	{"exec", exec_fuzz, NULL},
	{"netlink", netlink_fuzz, NULL},
	{"kernel_messages", kernel_messages_fuzz, NULL},
	{"api_server", api_server_fuzz, api_server_begin},
	{"probes", probes_fuzz, http_requests_begin},
	{"health_checks", health_checks_fuzz, http_requests_begin},
};

static const struct target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *name = getenv("FAIRLEAD_FUZZ_TARGET");

	(void)argc;
	(void)argv;
	for (size_t i = 0; name && i < sizeof(targets) / sizeof(targets[0]); i++) {
		if (!strcmp(targets[i].name, name))
			target = &targets[i];
	}
	if (!target) {
		(void)fprintf(stderr, "inputs_fuzz: FAIRLEAD_FUZZ_TARGET is none of:");
		for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
			(void)fprintf(stderr, " %s", targets[i].name);
		(void)fprintf(stderr, "\n");
		exit(2);
	}
	file = memfd_create("input", MFD_CLOEXEC);
	(void)snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file);
	(void)snprintf(folder, sizeof(folder), "%s/fl-inputs-XXXXXX", getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(folder))
		return 1;
	(void)snprintf(servers_path, sizeof(servers_path), "%s/api-servers", folder);
	(void)snprintf(cluster_ips_path, sizeof(cluster_ips_path), "%s/cluster-ips", folder);
	(void)atexit(folder_remove);
	if (target->begin)
		target->begin();
	/* Log lines of ours; libFuzzer and the sanitizers have the descriptor. */
	stderr = fopen("/dev/null", "w");
	return file < 0 || !stderr;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	target->fuzz(data, size);
	return 0;
}
