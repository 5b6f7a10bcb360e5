/* SPDX-License-Identifier: BSD-2-Clause */
#include "source/folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/lookup.h"
#include "base/text.h"
#include "base/uthash.h"
#include "decode/decode.h"
#include "base/file.h"
#include "decode/items.h"
#include "decode/manifest_check.h"
#include "source/claims.h"

#define MANIFEST_SIZE_MAX (512UL << 20)

struct manifest {
	struct provider provider;
	struct file_stamp stamp;
	uint64_t hash;      /* of the content last read, usable or not; 0: none */
	int err;            /* why it cannot be read, logged once; 0: it can */
	bool expected_back; /* an editor has moved it away and is about to rewrite it */
	bool seen;          /* by the current scan */
	UT_hash_handle hh;
	char name[];
};

enum service_state {
	SERVICE_CHANGED,  /* or its EndpointSlices or Endpoints have */
	SERVICE_WAITING,  /* for an address or a NodePort that another Service leaves */
	SERVICE_REFUSED,  /* because of --strict, until it changes */
	SERVICE_IN_ORDER, /* no longer of interest */
};

/* A Service to look at when all files are read. */
struct service_touch {
	enum service_state state;
	bool has_arrival; /* not only removals */
	bool is_waiting;  /* what it is found to be, before that is its state */
	bool has_mistake; /* likewise */
	char *slice;      /* one that has arrived; NULL: none has */
	const char *name; /* in `key` */
	char *namespace_; /* behind it */
	UT_hash_handle hh;
	char key[]; /* namespace/name */
};

/* A file that is being read. */
struct reading {
	struct folder *folder;
	const char *path;
	unsigned int line; /* of the current object */
	struct staging staging;
};

static void service_touch(struct folder *folder, const struct object *object, bool is_arrival)
{
	bool is_slice = object->kind == OBJECT_ENDPOINT_SLICE;
	const char *name = is_slice ? object->slice.service_name : object->name;
	size_t namespace_size = strlen(object->namespace_) + 1;
	size_t size = namespace_size + strlen(name) + 1;
	struct service_touch *touch, *known;
	bool no_memory = false;

	touch = calloc(1, sizeof(*touch) + size + namespace_size);
	if (!touch) {
		(void)log_err(-ENOMEM, "cannot look at Service %s/%s until it changes, continuing",
			      object->namespace_, name);
		return;
	}
	(void)snprintf(touch->key, size, "%s/%s", object->namespace_, name);
	touch->name = touch->key + namespace_size;
	touch->namespace_ = touch->key + size;
	memcpy(touch->namespace_, object->namespace_, namespace_size);
	HASH_FIND_STR(folder->touched, touch->key, known);
	if (!known)
		HASH_ADD_STR(folder->touched, key, touch);
	if (known || no_memory)
		free(touch);
	if (no_memory)
		return;
	touch = known ? known : touch;
	touch->state = SERVICE_CHANGED;
	touch->has_arrival |= is_arrival;
	if (is_arrival && is_slice && !touch->slice)
		touch->slice = strdup(object->name); /* NULL: a warning less */
}

/* True for a Service, and for what belongs to one: these are used together. */
static bool is_of_service(const struct object *object)
{
	return object->kind == OBJECT_SERVICE || object->kind == OBJECT_ENDPOINTS ||
	       (object->kind == OBJECT_ENDPOINT_SLICE && object->slice.service_name);
}

/*
 * Without --strict, what remains when an object goes is no mistake to warn about, and there is
 * nothing to copy.
 */
static void folder_on_change(const struct object *before, const struct object *after, void *context)
{
	struct folder *folder = context;
	struct object *copy;

	if (after && is_of_service(after))
		service_touch(folder, after, true);
	if (!folder->is_strict)
		return;
	if (before && is_of_service(before))
		service_touch(folder, before, false);
	else if (before && !after)
		model_remove(folder->model, before->kind, before->namespace_, before->name);
	if (!after || is_of_service(after))
		return;
	copy = object_new(after);
	if (!copy || model_put(folder->model, copy))
		(void)log_err(-ENOMEM, "cannot use %s %s", object_kind_name(after->kind),
			      after->name);
}

int folder_init(struct folder *folder, const struct manifests_options *options, struct model *model,
		struct cluster_ips *cluster_ips, const struct source_events *events)
{
	struct model *written = options->is_strict ? model_new() : model;

	*folder = (struct folder){.dir = options->dir,
				  .model = model,
				  .cluster_ips = cluster_ips,
				  .events = events,
				  .is_strict = options->is_strict,
				  .node_name = options->node_name};
	ledger_init(&folder->ledger, written, folder_on_change, folder);
	return written ? 0 : -ENOMEM;
}

static void touch_delete(struct folder *folder, struct service_touch *touch)
{
	HASH_DEL(folder->touched, touch);
	free(touch->slice);
	free(touch);
}

static void touched_forget(struct folder *folder)
{
	struct service_touch *touch, *next;

	HASH_ITER (hh, folder->touched, touch, next)
		touch_delete(folder, touch);
}

void folder_fini(struct folder *folder)
{
	struct manifest *manifest, *next;

	touched_forget(folder);
	cluster_ips_free(folder->cluster_ips);
	ledger_fini(&folder->ledger);
	HASH_ITER (hh, folder->manifests, manifest, next) {
		HASH_DEL(folder->manifests, manifest);
		free(manifest);
	}
	if (folder->is_strict)
		model_free(folder->ledger.model);
}

bool name_is_manifest(const char *name)
{
	static const char *const suffixes[] = {".yaml", ".yml", ".json"};
	size_t len = strlen(name);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t suffix_len = strlen(suffixes[i]);

		if (*name != '.' && len > suffix_len &&
		    !strcmp(name + len - suffix_len, suffixes[i]))
			return true;
	}
	return false;
}

static struct manifest *manifest_find(const struct folder *folder, const char *name)
{
	struct manifest *manifest;

	HASH_FIND_STR(folder->manifests, name, manifest);
	return manifest;
}

static struct manifest *manifest_get_or_add(struct folder *folder, const char *name)
{
	struct manifest *manifest = manifest_find(folder, name);
	bool no_memory = false;

	if (manifest)
		return manifest;
	manifest = calloc(1, sizeof(*manifest) + strlen(name) + 1);
	if (!manifest)
		return NULL;
	memcpy(manifest->name, name, strlen(name));
	if (ledger_join(&folder->ledger, &manifest->provider, manifest->name)) {
		free(manifest);
		return NULL;
	}
	HASH_ADD_STR(folder->manifests, name, manifest);
	if (!no_memory)
		return manifest;
	(void)ledger_leave(&folder->ledger, &manifest->provider);
	free(manifest);
	return NULL;
}

static void manifest_expect(struct folder *folder, struct manifest *manifest, bool expected)
{
	folder->expected_count += (size_t)expected - (size_t)manifest->expected_back;
	manifest->expected_back = expected;
}

static void manifest_forget(struct folder *folder, struct manifest *manifest)
{
	manifest_expect(folder, manifest, false);
	if (ledger_leave(&folder->ledger, &manifest->provider))
		(void)log_err(-ENOMEM, "cannot remove all objects of %s/%s", folder->dir,
			      manifest->name);
	HASH_DEL(folder->manifests, manifest);
	free(manifest);
}

/* An object or a file's new content is not used; that was logged. */
static void folder_reject(struct folder *folder)
{
	folder->rejects++;
	folder->events->rejected(folder->events->context);
}

/* What is not used because of a mistake of its own. */
static void folder_reject_mistake(struct folder *folder)
{
	folder->mistakes++;
	folder_reject(folder);
}

static void folder_on_problem(const char *text, void *context)
{
	const struct reading *reading = context;

	log_warning("%s:%u: %s", reading->path, reading->line, text);
	folder_reject_mistake(reading->folder);
}

static void folder_on_warning(enum manifest_warning warning, unsigned int line, const char *text,
			      void *context)
{
	const struct reading *reading = context;
	const struct source_events *events = reading->folder->events;

	if (warning == WARNING_NO_CLUSTER_IP &&
	    cluster_ips_has_ranges(reading->folder->cluster_ips))
		return;
	reading->folder->mistakes++;
	log_warning("%s:%u: %s", reading->path, line, text);
	if (events->warned)
		events->warned(manifest_warning_word(warning), events->context);
}

static void folder_on_list(const cJSON *head, unsigned int line, void *context)
{
	(void)line;
	manifest_check_list(head, &(struct manifest_warnings){folder_on_warning, context});
}

static int folder_on_item(const cJSON *item, const struct decode_defaults *defaults,
			  unsigned int line, void *context)
{
	struct reading *reading = context;
	const struct decode_problems problems = {folder_on_problem, reading};
	struct object *object;
	int err;

	reading->line = line;
	manifest_check(item, defaults, line,
		       &(struct manifest_warnings){folder_on_warning, reading});
	err = object_decode(item, defaults, &problems, &object);
	if (err || !object)
		return err;
	object->line = line;
	if (object->kind == OBJECT_SERVICE)
		cluster_ips_fill(reading->folder->cluster_ips, object);
	return staging_add(&reading->staging, object, line);
}

/* True for the empty file that a shell leaves behind when `kubectl get ... > file.yaml` fails. */
static bool content_is_blank(const struct file_content *content)
{
	for (size_t i = 0; i < content->size; i++) {
		if (!isspace((unsigned char)content->text[i]))
			return false;
	}
	return true;
}

static int text_decode(struct reading *reading, const struct file_content *content,
		       struct items_error *ret_error)
{
	const struct items_receiver receiver = {folder_on_item, folder_on_list, reading};
	size_t len = strlen(reading->path);

	if (content_is_blank(content)) {
		ret_error->line = 1;
		(void)snprintf(ret_error->text, sizeof(ret_error->text),
			       "it is empty (to remove its objects, remove the file)");
		return -EINVAL;
	}
	if (!strcmp(reading->path + len - strlen(".json"), ".json"))
		return json_items(content->text, content->size, &receiver, ret_error);
	return yaml_items(content->text, content->size, &receiver, ret_error);
}

static void content_decode(struct folder *folder, struct manifest *manifest, const char *path,
			   const struct file_content *content)
{
	struct reading reading = {.folder = folder,
				  .path = path,
				  .staging = {&folder->ledger, &manifest->provider, NULL}};
	struct items_error error = {};
	unsigned int mistakes_before = folder->mistakes;
	int err = text_decode(&reading, content, &error);
	bool is_refused = !err && folder->is_strict && folder->mistakes != mistakes_before;

	if (!err && !is_refused)
		err = staging_commit(&reading.staging);
	staging_fini(&reading.staging);
	if (is_refused) {
		log_warning("%s: refused because of --strict; the objects it had before stay in "
			    "use",
			    path);
		folder_reject(folder);
	} else if (err == -EINVAL) {
		log_warning("%s:%u: cannot parse it: %s; the objects it had before stay in use",
			    path, error.line, error.text);
		folder_reject_mistake(folder);
	} else if (err) {
		manifest->hash = 0;
		folder->rejects++;
		(void)log_err(err, "cannot use all of %s, trying again when it changes", path);
	}
}

/* A file that cannot be read: its objects stay. Logs each new reason once. */
static void manifest_fail(struct folder *folder, struct manifest *manifest, const char *path,
			  int err)
{
	memset(&manifest->stamp, 0, sizeof(manifest->stamp));
	if (manifest->err == err)
		return;
	manifest->err = err;
	log_warning("cannot read %s (%s); the objects it had before stay in use", path,
		    err == -EINVAL ? "not a regular file" : strerror(-err));
	folder_reject_mistake(folder);
}

/* The path of a file in the folder; the caller frees it. Logs. */
static char *path_alloc(const struct folder *folder, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", folder->dir, name) >= 0)
		return path;
	(void)log_err(-ENOMEM, "cannot read %s/%s", folder->dir, name);
	return NULL;
}

void folder_read(struct folder *folder, const char *name)
{
	auto_cleanup(cleanup_free) char *path = path_alloc(folder, name);
	auto_cleanup(file_content_fini) struct file_content content = {};
	struct manifest *manifest;
	int err;

	if (!path)
		return;
	err = file_read(path, MANIFEST_SIZE_MAX, &content);
	if (err == -ENOENT)
		return; /* a dangling link; inotify reports a file that was removed */
	manifest = manifest_get_or_add(folder, name);
	if (!manifest) {
		(void)log_err(-ENOMEM, "cannot read %s", path);
		return;
	}
	manifest_expect(folder, manifest, false);
	if (err) {
		manifest_fail(folder, manifest, path, err);
		return;
	}
	manifest->err = 0;
	manifest->stamp = content.stamp;
	if (manifest->hash == content.hash)
		return;
	manifest->hash = content.hash;
	content_decode(folder, manifest, path, &content);
}

void folder_forget(struct folder *folder, const char *name)
{
	struct manifest *manifest = manifest_find(folder, name);

	if (manifest)
		manifest_forget(folder, manifest);
}

void folder_expect_back(struct folder *folder, const char *name)
{
	struct manifest *manifest = manifest_find(folder, name);

	if (manifest)
		manifest_expect(folder, manifest, true);
}

bool folder_expects(const struct folder *folder)
{
	return folder->expected_count;
}

void folder_forget_missing(struct folder *folder)
{
	struct manifest *manifest, *next;

	HASH_ITER (hh, folder->manifests, manifest, next) {
		auto_cleanup(cleanup_free) char *path = NULL;
		struct stat st;

		if (!manifest->expected_back)
			continue;
		manifest_expect(folder, manifest, false);
		path = path_alloc(folder, manifest->name);
		if (path && stat(path, &st) && errno == ENOENT)
			manifest_forget(folder, manifest);
	}
}

static int entry_is_manifest(const struct dirent *entry)
{
	return name_is_manifest(entry->d_name);
}

static int entry_compare(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void manifest_scan(struct folder *folder, const char *name)
{
	struct manifest *manifest = manifest_find(folder, name);
	auto_cleanup(cleanup_free) char *path = path_alloc(folder, name);

	if (!path || (access(path, F_OK) && errno == ENOENT))
		return;
	if (!manifest || !file_is_unchanged(path, &manifest->stamp))
		folder_read(folder, name);
	manifest = manifest_find(folder, name);
	if (manifest)
		manifest->seen = true;
}

int folder_scan(struct folder *folder)
{
	struct manifest *manifest, *next;
	struct dirent **entries = NULL;
	int count = scandir(folder->dir, &entries, entry_is_manifest, entry_compare);

	if (count < 0)
		return -errno;
	for (manifest = folder->manifests; manifest; manifest = manifest->hh.next)
		manifest->seen = false;
	for (int i = 0; i < count; i++) {
		manifest_scan(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	HASH_ITER (hh, folder->manifests, manifest, next) {
		if (!manifest->seen && !manifest->expected_back)
			manifest_forget(folder, manifest);
	}
	return 0;
}

/* Warns about an object of the model, with the file and line that it is from. */
static void object_warn(struct folder *folder, const struct object *object,
			enum manifest_warning warning, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void object_warn(struct folder *folder, const struct object *object,
			enum manifest_warning warning, const char *format, ...)
{
	const char *file = ledger_file(&folder->ledger, object);
	char text[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text_make_plain(text);
	folder->mistakes++;
	log_warning("%s/%s:%u: %s %s/%s: %s", folder->dir, file, object->line,
		    object_kind_name(object->kind), object->namespace_, object->name, text);
	if (folder->events->warned)
		folder->events->warned(manifest_warning_word(warning), folder->events->context);
}

/*
 * Gives a Service its ClusterIPs. True: it needs one that another Service has. That is warned about
 * once, not each time that an address has become free.
 */
static bool service_complete(struct folder *folder, const struct service_touch *touch)
{
	bool has_waited = touch->state == SERVICE_WAITING;
	struct model *model = folder->ledger.model;
	const struct object *service;
	const char *why, *owner;
	int err = cluster_ips_choose(folder->cluster_ips, model, touch->namespace_, touch->name,
				     &why);

	service = model_service(model, touch->namespace_, touch->name);
	owner = cluster_ips_owner(folder->cluster_ips, model, service);
	if (has_waited && (err == -EADDRNOTAVAIL || owner))
		return true;
	if (err == -EADDRNOTAVAIL)
		object_warn(folder, service, WARNING_NO_CLUSTER_IP,
			    "--service-cidr %s for it: write a clusterIP, or give the agent "
			    "another range",
			    why);
	else if (err)
		(void)log_err(err, "cannot choose a ClusterIP for Service %s, continuing",
			      touch->key);
	if (owner)
		object_warn(folder, service, WARNING_CLUSTER_IP_TAKEN,
			    "its clusterIP is already the one chosen for Service %s; write a "
			    "different one",
			    owner);
	return err == -EADDRNOTAVAIL || (owner && folder->is_strict);
}

/* One with a ClusterIP that was chosen for the other: service_complete warns about that. */
static bool has_chosen_address(const struct folder *folder, const struct object *service)
{
	return cluster_ips_owner(folder->cluster_ips, folder->ledger.model, service);
}

/*
 * True: a Service has a ClusterIP or a NodePort that another one has as well. Each of the two is
 * warned about, but not again when it has waited for the other.
 */
static bool service_check_claims(struct folder *folder, const struct claims *claims,
				 const struct object *service, bool has_waited)
{
	const struct service_object *spec = &service->service;
	char text[ADDRESS_TEXT_SIZE];
	const struct object *other;
	struct claimed claimed;
	bool is_taken = false;

	for (size_t i = 0; i < spec->cluster_ip_count; i++) {
		claimed = (struct claimed){.addr = spec->cluster_ips[i]};
		other = claims_other(claims, &claimed, service);
		if (!other || has_chosen_address(folder, service) ||
		    has_chosen_address(folder, other))
			continue;
		is_taken = true;
		if (!has_waited)
			object_warn(folder, service, WARNING_CLUSTER_IP_TAKEN,
				    "its clusterIP %s is also that of Service %s/%s: write a "
				    "different one",
				    address_format(&claimed.addr, text), other->namespace_,
				    other->name);
	}
	for (size_t i = 0; i < spec->port_count; i++) {
		if (!node_port_claimed(spec, i, &claimed))
			continue;
		other = claims_other(claims, &claimed, service);
		if (!other)
			continue;
		is_taken = true;
		if (!has_waited)
			object_warn(folder, service, WARNING_NODE_PORT_TAKEN,
				    "spec.ports[%zu].nodePort %u is also that of Service %s/%s: "
				    "write a different one",
				    i, claimed.node_port, other->namespace_, other->name);
	}
	return is_taken;
}

static bool slice_port_is(const void *item, const void *key)
{
	const struct slice_port *port = item, *wanted = key;

	return port->proto == wanted->proto && !strcmp(port->name, wanted->name);
}

static struct slice_port *slice_port_find(const struct lookup *ports, const struct slice_port *key)
{
	return lookup_find(ports, port_name_hash(key->name, key->proto), slice_port_is, key);
}

static int slice_ports_add(struct lookup *ports, const struct slice_object *slice)
{
	for (size_t i = 0; i < slice->port_count; i++) {
		struct slice_port *port = &slice->ports[i];
		int err = 0;

		if (!slice_port_find(ports, port))
			err = lookup_add(ports, port_name_hash(port->name, port->proto), port);
		if (err)
			return err;
	}
	return 0;
}

/* Names the ports of a slice, except for those that were added before it. */
static void slice_ports_name(const struct lookup *ports, const struct slice_object *slice,
			     struct name_list *names)
{
	for (size_t i = 0; i < slice->port_count; i++) {
		const struct slice_port *port = &slice->ports[i];
		char name[NAME_SIZE + 16];

		if (slice_port_find(ports, port) != port)
			continue;
		(void)snprintf(name, sizeof(name), "\"%s\" (%s)", port->name,
			       proto_name(port->proto));
		name_list_add(names, "", name);
	}
}

/* Warns about ports that the Service's slices do not have. */
static void service_match_ports(struct folder *folder, const struct object *service)
{
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	auto_cleanup(lookup_fini) struct lookup ports = {};
	int count = model_slices(folder->ledger.model, service, &slices);
	bool are_named = false, has_endpoints = false;
	struct name_list names = {};

	for (int i = 0; i < count; i++) {
		/* The slice of a Service without endpoints has no ports either. */
		if (!slices[i]->endpoint_count)
			continue;
		has_endpoints = true;
		if (slice_ports_add(&ports, slices[i]))
			return; /* a warning less */
	}
	for (size_t i = 0; has_endpoints && i < service->service.port_count; i++) {
		const struct service_port *port = &service->service.ports[i];
		const struct slice_port key = {.name = port->name, .proto = port->proto};

		if (slice_port_find(&ports, &key))
			continue;
		for (int j = 0; !are_named && j < count; j++)
			slice_ports_name(&ports, slices[j], &names);
		are_named = true;
		object_warn(folder, service, WARNING_PORT_UNMATCHED,
			    "spec.ports[%zu] gets no traffic: none of the Service's EndpointSlices "
			    "has a port \"%s\" (%s), they have %s; make the names match",
			    i, port->name, proto_name(port->proto),
			    names.count ? names.text : "none");
	}
}

/* A slice that has arrived and that no Service uses. */
static void slice_check(struct folder *folder, const struct service_touch *touch)
{
	const struct object *slice = model_get(folder->ledger.model, OBJECT_ENDPOINT_SLICE,
					       touch->namespace_, touch->slice);

	if (slice && slice->slice.service_name && !strcmp(slice->slice.service_name, touch->name))
		object_warn(folder, slice, WARNING_NO_SERVICE,
			    "no file has the Service %s that its label " LABEL_SERVICE_NAME
			    " names: correct the label or the namespace",
			    touch->key);
}

/* The first step, because others look at the addresses of all Services. */
static void service_choose(struct folder *folder, struct service_touch *touch)
{
	const struct object *service =
		model_service(folder->ledger.model, touch->namespace_, touch->name);
	unsigned int mistakes_before = folder->mistakes;

	touch->is_waiting = service && object_is_served_service(service) && touch->has_arrival &&
			    service_complete(folder, touch);
	touch->has_mistake = folder->mistakes != mistakes_before;
}

/* Looks for what is wrong with a Service, and warns. */
static void service_check(struct folder *folder, struct service_touch *touch,
			  const struct claims *claims)
{
	const struct object *service =
		model_service(folder->ledger.model, touch->namespace_, touch->name);
	bool has_waited = touch->state == SERVICE_WAITING;
	unsigned int mistakes_before = folder->mistakes;

	/* There is nothing to refuse: a slice without a Service has no effect. */
	if (!service && touch->slice)
		slice_check(folder, touch);
	if (!service || !object_is_served_service(service) || !touch->has_arrival)
		return;
	if (service_check_claims(folder, claims, service, has_waited) && folder->is_strict)
		touch->is_waiting = true;
	/* With --strict this decides whether it is used, so it is asked again. */
	if (!has_waited || (folder->is_strict && !touch->is_waiting))
		service_match_ports(folder, service);
	touch->has_mistake |= folder->mistakes != mistakes_before;
}

static void service_settle(struct folder *folder, struct service_touch *touch,
			   const struct claims *claims)
{
	bool has_waited = touch->state == SERVICE_WAITING;

	service_check(folder, touch, claims);
	touch->state = touch->is_waiting                         ? SERVICE_WAITING
		       : folder->is_strict && touch->has_mistake ? SERVICE_REFUSED
								 : SERVICE_IN_ORDER;
	if (!folder->is_strict)
		return;
	if (touch->state == SERVICE_IN_ORDER) {
		if (model_copy_service(folder->model, folder->ledger.model, touch->namespace_,
				       touch->name))
			(void)log_err(-ENOMEM, "cannot use Service %s as it is now", touch->key);
	} else if (!has_waited || touch->has_mistake) {
		log_warning("%s: Service %s is refused because of --strict; what it and its "
			    "EndpointSlices were before stays in use",
			    folder->dir, touch->key);
		folder_reject(folder);
	}
}

/* Without its Node, this node has no zone, no address of its own and no range of pods. */
static void nodes_check(struct folder *folder)
{
	size_t count = model_count(folder->ledger.model, OBJECT_NODE);
	bool was_missing = folder->is_node_missing;

	if (!folder->node_name)
		return;
	folder->is_node_missing = count && !model_node(folder->ledger.model, folder->node_name);
	if (!folder->is_node_missing || was_missing)
		return;
	folder->mistakes++;
	log_warning("%s: none of the Nodes is this node, %s: add it, or correct --node-name or "
		    "the Node's name",
		    folder->dir, folder->node_name);
	if (folder->events->warned)
		folder->events->warned(manifest_warning_word(WARNING_NO_NODE),
				       folder->events->context);
}

static int touch_compare(const struct service_touch *a, const struct service_touch *b)
{
	return strcmp(a->key, b->key);
}

static bool touch_is_due(const struct folder *folder, const struct service_touch *touch)
{
	return touch->state != SERVICE_REFUSED &&
	       (touch->state != SERVICE_WAITING || folder->ledger.freed);
}

void folder_settle(struct folder *folder)
{
	auto_cleanup(claims_fini) struct claims claims = {};
	struct service_touch *touch, *next;

	/* In an order that does not depend on which files they are in. */
	HASH_SORT(folder->touched, touch_compare);
	for (touch = folder->touched; touch; touch = touch->hh.next) {
		if (touch_is_due(folder, touch))
			service_choose(folder, touch);
	}
	if (folder->touched && claims_collect(&claims, folder->ledger.model))
		(void)log_err(-ENOMEM, "cannot compare all Services' addresses, continuing");
	HASH_ITER (hh, folder->touched, touch, next) {
		if (!touch_is_due(folder, touch))
			continue;
		service_settle(folder, touch, &claims);
		if (touch->state == SERVICE_IN_ORDER)
			touch_delete(folder, touch);
	}
	nodes_check(folder);
	folder->ledger.freed = false;
	cluster_ips_keep(folder->cluster_ips);
}

bool folder_is_unreadable(const struct folder *folder, const char *name)
{
	const struct manifest *manifest = manifest_find(folder, name);

	return manifest && manifest->err;
}

unsigned int folder_count(const struct folder *folder)
{
	return HASH_COUNT(folder->manifests);
}
