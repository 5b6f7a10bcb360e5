/* SPDX-License-Identifier: BSD-2-Clause */

/* A folder of manifests, changed in all the ways in which people and programs change files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/log.h"
#include "base/text.h"
#include "growth.h"
#include "source/source.h"

#define PATIENCE_MS 5000

struct fixture {
	uv_loop_t loop;
	uv_timer_t deadline;
	char root[64]; /* holds the folder and what is beside it */
	char dir[96];
	struct model *model;
	struct source *source;
	unsigned int synced, changed, rejected;
	char warned[256]; /* the words of all warnings, with blanks between */
	bool late, is_strict;
	struct cidr range; /* of ClusterIPs; prefix 0: none */
};

static void on_synced(uint64_t woken_ns, void *context)
{
	struct fixture *fixture = context;

	assert_true(woken_ns <= uv_hrtime());
	assert_int_equal(fixture->changed, 0);
	fixture->synced++;
}

static void on_changed(uint64_t woken_ns, void *context)
{
	struct fixture *fixture = context;

	assert_true(woken_ns <= uv_hrtime());
	fixture->changed++;
}

static void on_rejected(void *context)
{
	((struct fixture *)context)->rejected++;
}

static void on_warned(const char *why, void *context)
{
	struct fixture *fixture = context;
	size_t len = strlen(fixture->warned);

	(void)snprintf(fixture->warned + len, sizeof(fixture->warned) - len, "%s%s", len ? " " : "",
		       why);
}

static void on_deadline(uv_timer_t *timer)
{
	((struct fixture *)timer->data)->late = true;
}

static int when_tried(struct fixture *fixture, const char *dir)
{
	const struct source_events events = {.synced = on_synced,
					     .changed = on_changed,
					     .rejected = on_rejected,
					     .warned = on_warned,
					     .context = fixture};
	const struct manifests_options options = {
		.dir = dir,
		.is_strict = fixture->is_strict,
		.node_name = "node1",
		.service_cidrs = &fixture->range,
		.service_cidr_count = fixture->range.prefix != 0,
		.state_dir = fixture->range.prefix ? fixture->root : NULL,
	};

	return source_manifests_open(&fixture->loop, &options, fixture->model, &events,
				     &fixture->source);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture || uv_loop_init(&fixture->loop))
		return -1;
	(void)snprintf(fixture->root, sizeof(fixture->root), "%s/fl-manifests-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(fixture->root))
		return -1;
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "%s/dir", fixture->root);
	(void)mkdir(fixture->dir, 0755);
	(void)uv_timer_init(&fixture->loop, &fixture->deadline);
	fixture->deadline.data = fixture;
	fixture->model = model_new();
	*state = fixture;
	return 0;
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	source_close(fixture->source);
	uv_close((uv_handle_t *)&fixture->deadline, NULL);
	(void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&fixture->loop))
		return -1;
	model_free(fixture->model);
	(void)nftw(fixture->root, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

static int drained(const char *namespace_, const char *name, void *context)
{
	(void)namespace_;
	(void)name;
	++*(unsigned int *)context;
	return 0;
}

static unsigned int dirty_count(struct fixture *fixture)
{
	unsigned int count = 0;

	(void)model_drain_dirty(fixture->model, drained, &count);
	return count;
}

static void when_opened(struct fixture *fixture)
{
	assert_int_equal(when_tried(fixture, fixture->dir), 0);
	(void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
	assert_int_equal(fixture->synced, 1);
	assert_int_equal(fixture->changed, 0);
	(void)dirty_count(fixture);
}

static const char *path_of(const struct fixture *fixture, const char *name)
{
	static char paths[4][256];
	static unsigned int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", fixture->dir, name);
	return path;
}

static void write_path(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void when_written(const struct fixture *fixture, const char *name, const char *text)
{
	write_path(path_of(fixture, name), text);
}

static void when_renamed(const struct fixture *fixture, const char *from, const char *to)
{
	assert_int_equal(rename(path_of(fixture, from), path_of(fixture, to)), 0);
}

/* A Service on a port, to tell versions of it apart. */
static const char *service_text(const char *name, unsigned int port)
{
	static char texts[4][256];
	static unsigned int next;
	char *text = texts[next++ % 4];
	uint64_t hash =
		text_hash(name, strlen(name)); /* two Services with one address are one mistake */

	(void)snprintf(text, sizeof(texts[0]),
		       "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\n"
		       "spec: {clusterIP: 10.97.%u.%u, ports: [{port: %u}]}\n---\n",
		       name, (unsigned int)(hash % 250), (unsigned int)(hash / 250 % 250), port);
	return text;
}

/* The port of the Service, 0: there is none. */
static unsigned int port_of(const struct fixture *fixture, const char *name)
{
	const struct object *service = model_service(fixture->model, "default", name);

	return service ? service->service.ports[0].port : 0;
}

/* Runs the loop until the Service has that port. */
static void then_port(struct fixture *fixture, const char *name, unsigned int port)
{
	fixture->late = false;
	(void)uv_timer_start(&fixture->deadline, on_deadline, PATIENCE_MS, 0);
	while (port_of(fixture, name) != port && !fixture->late)
		(void)uv_run(&fixture->loop, UV_RUN_ONCE);
	(void)uv_timer_stop(&fixture->deadline);
	if (fixture->late)
		fail_msg("Service %s has port %u, not %u", name, port_of(fixture, name), port);
}

/* What has been done so far has been seen: a new file's Service comes after it. */
static void then_settled(struct fixture *fixture)
{
	static unsigned int port;

	when_written(fixture, "zzz-settled.yaml", service_text("settled", ++port));
	then_port(fixture, "settled", port);
	fixture->changed = 0;
}

static void the_first_read_is_complete_and_calls_nobody(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml", service_text("a", 1));
	when_written(fixture, "b.json",
		     "{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"items\":[{\"metadata\":{"
		     "\"name\":"
		     "\"b\"},\"spec\":{\"ports\":[{\"port\":2}]}}]}");
	when_written(fixture, ".hidden.yaml", service_text("hidden", 3));
	when_written(fixture, "notes.txt", service_text("notes", 4));
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(port_of(fixture, "b"), 2);
	assert_int_equal(model_count(fixture->model, OBJECT_SERVICE), 2);
	assert_int_equal(fixture->rejected, 0);
}

static void a_folder_that_does_not_exist_is_an_error(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(when_tried(fixture, "/nonexistent"), -ENOENT);
}

static void files_are_added_changed_and_removed(void **state)
{
	struct fixture *fixture = *state;

	when_opened(fixture);
	when_written(fixture, "a.yaml", service_text("a", 1));
	then_port(fixture, "a", 1);
	assert_int_equal(fixture->changed, 1);
	when_written(fixture, "a.yaml", service_text("a", 2));
	then_port(fixture, "a", 2);
	when_written(fixture, "new.tmp", service_text("a", 3));
	when_renamed(fixture, "new.tmp", "a.yaml");
	then_port(fixture, "a", 3);
	assert_int_equal(unlink(path_of(fixture, "a.yaml")), 0);
	then_port(fixture, "a", 0);
}

static void only_objects_that_differ_become_dirty(void **state)
{
	struct fixture *fixture = *state;
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s%s%s", service_text("a", 1), service_text("b", 1),
		       service_text("c", 1));
	when_written(fixture, "all.yaml", text);
	when_opened(fixture);
	(void)snprintf(text, sizeof(text), "%s%s%s", service_text("a", 1), service_text("b", 2),
		       service_text("d", 1));
	when_written(fixture, "all.yaml", text);
	then_port(fixture, "b", 2);
	assert_int_equal(port_of(fixture, "c"), 0);
	assert_int_equal(dirty_count(fixture), 3);
	assert_int_equal(fixture->changed, 1);
}

static void many_files_at_once_are_one_change(void **state)
{
	struct fixture *fixture = *state;

	when_opened(fixture);
	for (unsigned int i = 0; i < 100; i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "file-%u.yaml", i);
		when_written(fixture, name, service_text(name, i + 1));
	}
	then_port(fixture, "file-99.yaml", 100);
	assert_int_equal(fixture->changed, 1);
	assert_int_equal(model_count(fixture->model, OBJECT_SERVICE), 100);
}

static void a_file_that_is_being_written_is_not_read(void **state)
{
	struct fixture *fixture = *state;
	FILE *file;

	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	file = fopen(path_of(fixture, "a.yaml"), "w");
	assert_non_null(file);
	assert_true(fputs(service_text("other", 5), file) >= 0);
	assert_int_equal(fflush(file), 0);
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(port_of(fixture, "other"), 0);
	assert_true(fputs(service_text("a", 2), file) >= 0);
	assert_int_equal(fclose(file), 0);
	then_port(fixture, "a", 2);
}

static void a_file_that_cannot_be_parsed_keeps_what_it_gave(void **state)
{
	struct fixture *fixture = *state;
	char text[512];

	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	(void)snprintf(text, sizeof(text), "%skind: [half", service_text("a", 2));
	when_written(fixture, "a.yaml", text);
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(fixture->rejected, 1);
	when_written(fixture, "a.yaml", text);
	then_settled(fixture);
	assert_int_equal(fixture->rejected, 1);
	when_written(fixture, "a.yaml", service_text("a", 3));
	then_port(fixture, "a", 3);
}

static void a_bad_object_is_skipped_and_counted_and_the_others_are_used(void **state)
{
	struct fixture *fixture = *state;
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s%s%s", service_text("a", 1),
		       service_text("bad", 70000), service_text("c", 3));
	when_written(fixture, "all.yaml", text);
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(port_of(fixture, "bad"), 0);
	assert_int_equal(port_of(fixture, "c"), 3);
	assert_int_equal(fixture->rejected, 1);
}

static void of_two_files_with_one_object_the_last_name_counts(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "b.yaml", service_text("web", 2));
	when_written(fixture, "a.yaml", service_text("web", 1));
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "web"), 2);
	when_written(fixture, "a.yaml", service_text("web", 11));
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "web"), 2);
	when_written(fixture, "c.yaml", service_text("web", 3));
	then_port(fixture, "web", 3);
	assert_int_equal(unlink(path_of(fixture, "c.yaml")), 0);
	then_port(fixture, "web", 2);
	when_written(fixture, "b.yaml", service_text("other", 4));
	then_port(fixture, "web", 11);
	assert_int_equal(unlink(path_of(fixture, "a.yaml")), 0);
	then_port(fixture, "web", 0);
	assert_int_equal(port_of(fixture, "other"), 4);
}

static void the_later_of_two_in_one_file_counts(void **state)
{
	struct fixture *fixture = *state;
	char text[1024];

	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	(void)snprintf(text, sizeof(text), "%s%s", service_text("a", 2), service_text("a", 1));
	when_written(fixture, "a.yaml", text);
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	(void)snprintf(text, sizeof(text), "%s%s", service_text("a", 1), service_text("a", 2));
	when_written(fixture, "a.yaml", text);
	then_port(fixture, "a", 2);
}

/* kubelet: file -> ..data/file, ..data -> ..2026_1; the new ..data is renamed over the old one. */
static void a_symlink_swap_is_seen(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(mkdir(path_of(fixture, "..1"), 0755), 0);
	when_written(fixture, "..1/a.yaml", service_text("a", 1));
	when_written(fixture, "..1/b.yaml", service_text("b", 1));
	assert_int_equal(symlink("..1", path_of(fixture, "..data")), 0);
	assert_int_equal(symlink("..data/a.yaml", path_of(fixture, "a.yaml")), 0);
	assert_int_equal(symlink("..data/b.yaml", path_of(fixture, "b.yaml")), 0);
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(mkdir(path_of(fixture, "..2"), 0755), 0);
	when_written(fixture, "..2/a.yaml", service_text("a", 2));
	assert_int_equal(symlink("..2", path_of(fixture, "..data_tmp")), 0);
	when_renamed(fixture, "..data_tmp", "..data");
	then_port(fixture, "a", 2);
	assert_int_equal(port_of(fixture, "b"), 0);
}

static void links_are_read_when_they_appear(void **state)
{
	struct fixture *fixture = *state;

	when_opened(fixture);
	when_written(fixture, "target", service_text("a", 1));
	assert_int_equal(symlink("target", path_of(fixture, "a.yaml")), 0);
	then_port(fixture, "a", 1);
	when_written(fixture, "other", service_text("b", 1));
	assert_int_equal(link(path_of(fixture, "other"), path_of(fixture, "b.yaml")), 0);
	then_port(fixture, "b", 1);
}

/* vim: the old file is renamed to a backup, then the new one is written. */
static void an_editor_that_puts_the_old_file_aside_does_no_harm(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	when_renamed(fixture, "a.yaml", "a.yaml~");
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	when_written(fixture, "a.yaml", service_text("a", 2));
	then_port(fixture, "a", 2);
	when_renamed(fixture, "a.yaml", "a.yaml~");
	then_port(fixture, "a", 0);
}

static void a_renamed_manifest_changes_nothing(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	when_renamed(fixture, "a.yaml", "b.yaml");
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(unlink(path_of(fixture, "b.yaml")), 0);
	then_port(fixture, "a", 0);
}

static void a_replaced_folder_keeps_its_state_until_it_is_back(void **state)
{
	struct fixture *fixture = *state;
	char away[128], next[128], file[160];

	(void)snprintf(away, sizeof(away), "%s/away", fixture->root);
	(void)snprintf(next, sizeof(next), "%s/next", fixture->root);
	(void)snprintf(file, sizeof(file), "%s/b.yaml", next);
	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	assert_int_equal(rename(fixture->dir, away), 0);
	(void)uv_run(&fixture->loop, UV_RUN_ONCE);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(mkdir(next, 0755), 0);
	write_path(file, service_text("b", 2));
	assert_int_equal(rename(next, fixture->dir), 0);
	then_port(fixture, "b", 2);
	assert_int_equal(port_of(fixture, "a"), 0);
	when_written(fixture, "c.yaml", service_text("c", 3));
	then_port(fixture, "c", 3);
}

static void what_may_be_a_mistake_is_counted_and_used_all_the_same(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml",
		     "apiVersion: v1\nkind: Service\nmetadata: {name: a, label: {}}\n"
		     "spec: {ports: [{port: 1}]}\n");
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_string_equal(fixture->warned, "unknown-field no-cluster-ip");
	assert_int_equal(fixture->rejected, 0);
	when_written(fixture, "b.json", "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"itmes\":[]}");
	then_settled(fixture);
	assert_string_equal(fixture->warned, "unknown-field no-cluster-ip unknown-field");
}

static const char label_mistaken[] =
	"apiVersion: v1\nkind: Service\nmetadata: {name: a, label: {}}\n"
	"spec: {clusterIP: 10.96.0.1, ports: [{port: 9}]}\n";

static void with_strict_a_mistake_at_the_start_is_an_error(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_written(fixture, "a.yaml", label_mistaken);
	assert_int_equal(when_tried(fixture, fixture->dir), -EINVAL);
	when_written(fixture, "a.yaml", "kind: [half");
	assert_int_equal(when_tried(fixture, fixture->dir), -EINVAL);
	when_written(fixture, "a.yaml", service_text("bad", 70000));
	assert_int_equal(when_tried(fixture, fixture->dir), -EINVAL);
	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
}

static void with_strict_a_file_with_a_mistake_keeps_what_it_gave(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	when_written(fixture, "a.yaml", label_mistaken);
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_string_equal(fixture->warned, "unknown-field");
	assert_int_equal(fixture->rejected, 1);
	when_written(fixture, "a.yaml", service_text("a", 2));
	then_port(fixture, "a", 2);
}

static void given_range(struct fixture *fixture, const char *text)
{
	assert_int_equal(cidr_parse(text, &fixture->range.addr, &fixture->range.prefix), 0);
}

static const char *cluster_ip_of(const struct fixture *fixture, const char *name)
{
	static char texts[4][ADDRESS_TEXT_SIZE];
	static unsigned int next;
	const struct object *service = model_service(fixture->model, "default", name);

	assert_non_null(service);
	return service->service.cluster_ip_count
		       ? address_format(&service->service.cluster_ips[0], texts[next++ % 4])
		       : "";
}

#define BARE_SERVICE(name, port)                                      \
	"apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\n" \
	"spec: {ports: [{port: " port "}]}\n---\n"

/* Of 10.0.0.0/29, .2 to .6 can be chosen. */
static void services_without_a_cluster_ip_get_one_that_others_do_not_have(void **state)
{
	struct fixture *fixture = *state;
	char first[ADDRESS_TEXT_SIZE];

	given_range(fixture, "10.0.0.0/29");
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "1") BARE_SERVICE("b", "1"));
	when_written(fixture, "z.yaml",
		     "apiVersion: v1\nkind: Service\nmetadata: {name: written}\n"
		     "spec: {clusterIP: 10.0.0.2, externalIPs: [10.0.0.3, 10.0.0.4]}\n");
	when_opened(fixture);
	(void)snprintf(first, sizeof(first), "%s", cluster_ip_of(fixture, "a"));
	assert_true(!strcmp(first, "10.0.0.5") || !strcmp(first, "10.0.0.6"));
	assert_true(!strcmp(cluster_ip_of(fixture, "b"), "10.0.0.5") ||
		    !strcmp(cluster_ip_of(fixture, "b"), "10.0.0.6"));
	assert_string_not_equal(cluster_ip_of(fixture, "b"), first);
	assert_string_equal(fixture->warned, "");
	assert_int_equal(fixture->rejected, 0);
	when_written(fixture, "a.yaml",
		     "# moved\n" BARE_SERVICE("a", "1") BARE_SERVICE("b", "2")
			     BARE_SERVICE("c", "1"));
	then_port(fixture, "b", 2);
	assert_string_equal(cluster_ip_of(fixture, "a"), first);
	assert_string_equal(cluster_ip_of(fixture, "c"), "");
	assert_int_equal(dirty_count(fixture), 2);
}

static void a_service_for_which_there_is_no_address_is_warned_about(void **state)
{
	struct fixture *fixture = *state;

	given_range(fixture, "10.0.0.0/30");
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "1") BARE_SERVICE("b", "1"));
	when_opened(fixture);
	assert_string_equal(cluster_ip_of(fixture, "a"), "10.0.0.2");
	assert_string_equal(cluster_ip_of(fixture, "b"), "");
	assert_string_equal(fixture->warned, "no-cluster-ip");
	when_written(fixture, "b.yaml", service_text("c", 1));
	when_written(fixture, "d.yaml",
		     "apiVersion: v1\nkind: Service\nmetadata: {name: d}\n"
		     "spec: {clusterIP: 10.0.0.2, ports: [{port: 4}]}\n");
	then_port(fixture, "d", 4);
	assert_string_equal(fixture->warned, "no-cluster-ip cluster-ip-taken");
	when_written(fixture, "a.yaml", BARE_SERVICE("b", "2"));
	then_port(fixture, "a", 0);
	assert_string_equal(cluster_ip_of(fixture, "b"), "");
}

static void a_service_for_which_there_was_no_address_gets_that_of_one_that_goes(void **state)
{
	struct fixture *fixture = *state;

	given_range(fixture, "10.0.0.0/30");
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "1"));
	when_written(fixture, "b.yaml", BARE_SERVICE("b", "1"));
	when_opened(fixture);
	assert_string_equal(cluster_ip_of(fixture, "b"), "");
	then_settled(fixture);
	assert_int_equal(unlink(path_of(fixture, "a.yaml")), 0);
	then_port(fixture, "a", 0);
	assert_string_equal(cluster_ip_of(fixture, "b"), "10.0.0.2");
	assert_string_equal(fixture->warned, "no-cluster-ip");
}

static void a_service_that_waits_gets_the_address_that_another_one_leaves(void **state)
{
	struct fixture *fixture = *state;

	given_range(fixture, "10.0.0.0/30");
	when_written(fixture, "a.yaml",
		     "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
		     "spec: {clusterIP: 10.0.0.2, ports: [{port: 1}]}\n");
	when_written(fixture, "b.yaml", BARE_SERVICE("b", "1"));
	when_opened(fixture);
	then_settled(fixture);
	assert_string_equal(cluster_ip_of(fixture, "b"), "");
	when_written(fixture, "a.yaml",
		     "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
		     "spec: {clusterIP: 10.96.0.7, ports: [{port: 2}]}\n");
	then_port(fixture, "a", 2);
	assert_string_equal(cluster_ip_of(fixture, "b"), "10.0.0.2");
}

static void a_service_that_another_file_has_as_well_keeps_an_address(void **state)
{
	struct fixture *fixture = *state;

	given_range(fixture, "10.0.0.0/30");
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "1"));
	when_written(fixture, "b.yaml",
		     "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
		     "spec: {clusterIP: 10.96.0.9, ports: [{port: 2}]}\n");
	when_opened(fixture);
	assert_string_equal(cluster_ip_of(fixture, "a"), "10.96.0.9");
	assert_int_equal(unlink(path_of(fixture, "b.yaml")), 0);
	then_port(fixture, "a", 1);
	assert_string_equal(cluster_ip_of(fixture, "a"), "10.0.0.2");
}

static void a_service_that_was_rejected_at_the_start_finds_its_address(void **state)
{
	struct fixture *fixture = *state;
	char path[128];

	given_range(fixture, "10.0.0.0/24");
	(void)snprintf(path, sizeof(path), "%s/cluster-ips", fixture->root);
	write_path(path, "default/a 10.0.0.77\n");
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "0"));
	when_opened(fixture);
	assert_int_equal(fixture->rejected, 1);
	when_written(fixture, "b.yaml", BARE_SERVICE("b", "1"));
	then_port(fixture, "b", 1);
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "1"));
	then_port(fixture, "a", 1);
	assert_string_equal(cluster_ip_of(fixture, "a"), "10.0.0.77");
}

#define SLICE_HEAD(name, service)                                                         \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"       \
	"metadata: {name: " name ", labels: {kubernetes.io/service-name: " service "}}\n" \
	"endpoints: [{addresses: [10.1.0.1]}]\n"
#define SLICE(name, service, ports) SLICE_HEAD(name, service) "ports: [" ports "]\n---\n"

static const char two_ports[] =
	"apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
	"spec:\n  clusterIP: 10.96.0.1\n"
	"  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]\n";

static void a_port_that_no_slice_has_is_warned_about_when_all_files_are_read(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml", two_ports);
	when_written(fixture, "b.yaml", SLICE("b", "web", "{name: http, port: 8080}"));
	when_written(fixture, "c.yaml", SLICE("c", "web", "{name: dns, port: 53, protocol: UDP}"));
	when_opened(fixture);
	assert_string_equal(fixture->warned, "");
	when_written(fixture, "c.yaml", SLICE("c", "web", "{name: dns, port: 53}"));
	then_settled(fixture);
	assert_string_equal(fixture->warned, "port-unmatched");
	when_written(fixture, "b.yaml",
		     SLICE("b", "web", "")
			     SLICE("d", "web", "{name: dsn, port: 5, protocol: UDP}"));
	when_written(fixture, "c.yaml", SLICE("c", "elsewhere", "{name: dns, port: 53}"));
	then_settled(fixture);
	assert_string_equal(fixture->warned,
			    "port-unmatched no-service port-unmatched port-unmatched");
}

static void ports_write(FILE *file, const char *prefix, unsigned int count)
{
	for (unsigned int i = 1; i <= count; i++)
		(void)fprintf(file, "%s{name: %s%u, port: %u}", i > 1 ? ", " : "", prefix, i, i);
}

/* A Service and a slice with so many ports; `prefix` begins their names in the slice. */
static uint64_t ports_match_ns(unsigned int count, const void *prefix)
{
	struct fixture *fixture;
	uint64_t took_ns;
	void *state;
	FILE *file;

	assert_int_equal(setup(&state), 0);
	fixture = state;
	file = fopen(path_of(fixture, "a.yaml"), "we");
	assert_non_null(file);
	(void)fputs("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
		    "spec:\n  clusterIP: 10.96.0.1\n  ports: [",
		    file);
	ports_write(file, "p", count);
	(void)fputs("]\n---\n" SLICE_HEAD("b", "web") "ports: [", file);
	ports_write(file, prefix, count);
	(void)fputs("]\n", file);
	assert_int_equal(fclose(file), 0);
	took_ns = growth_cpu_ns();
	when_opened(fixture);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(fixture->warned[0], strcmp(prefix, "p") ? 'p' : '\0');
	assert_int_equal(teardown(&state), 0);
	return took_ns;
}

static void the_time_to_match_ports_grows_with_their_number(void **state)
{
	(void)state;
	log_set_level(LOG_ERROR);
	assert_grows_evenly(ports_match_ns, "p", 1000);
	assert_grows_evenly(ports_match_ns, "q", 1000);
	log_set_level(LOG_INFO);
}

static void a_service_without_endpoints_has_no_port_to_match(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml", two_ports);
	when_written(fixture, "b.yaml",
		     "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
		     "metadata: {name: a, labels: {kubernetes.io/service-name: web}}\n"
		     "endpoints: []\nports: []\n");
	when_opened(fixture);
	assert_string_equal(fixture->warned, "");
}

static void with_strict_a_port_that_no_slice_has_is_an_error_at_the_start(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_written(fixture, "a.yaml", two_ports);
	when_written(fixture, "b.yaml", SLICE("b", "web", "{name: http, port: 8080}"));
	assert_int_equal(when_tried(fixture, fixture->dir), -EINVAL);
	when_written(fixture, "c.yaml", SLICE("c", "web", "{name: dns, port: 53, protocol: UDP}"));
	when_opened(fixture);
}

static void a_slice_whose_service_no_file_has_is_a_mistake(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_written(fixture, "a.yaml", two_ports);
	when_written(fixture, "b.yaml", SLICE("b", "wbe", "{name: http, port: 8080}"));
	assert_int_equal(when_tried(fixture, fixture->dir), -EINVAL);
	assert_string_equal(fixture->warned, "no-service");
	assert_int_equal(remove(path_of(fixture, "b.yaml")), 0);
	when_opened(fixture);
	/* What a Service that goes leaves behind is none. */
	when_written(fixture, "b.yaml",
		     SLICE("b", "web",
			   "{name: http, port: 8080}, {name: dns, port: 53, "
			   "protocol: UDP}"));
	then_settled(fixture);
	assert_int_equal(remove(path_of(fixture, "a.yaml")), 0);
	then_settled(fixture);
	assert_string_equal(fixture->warned, "no-service");
	assert_int_equal(fixture->rejected, 0);
}

#define NODE_PORT_SERVICE(name, ip, port)                                              \
	"apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\n"                  \
	"spec: {type: NodePort, clusterIP: " ip ", ports: [{port: 80, nodePort: " port \
	"}]}\n---\n"

static void services_with_one_address_or_node_port_are_both_named(void **state)
{
	struct fixture *fixture = *state;

	when_written(fixture, "a.yaml", NODE_PORT_SERVICE("a", "10.96.0.1", "30080"));
	when_written(fixture, "b.yaml", NODE_PORT_SERVICE("b", "10.96.0.1", "30081"));
	when_written(fixture, "c.yaml", NODE_PORT_SERVICE("c", "10.96.0.3", "30081"));
	when_written(fixture, "d.yaml", NODE_PORT_SERVICE("d", "10.96.0.4", "30084"));
	when_opened(fixture);
	assert_string_equal(fixture->warned, "cluster-ip-taken cluster-ip-taken node-port-taken "
					     "node-port-taken");
}

static void with_strict_a_service_waits_for_the_node_port_of_another(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_written(fixture, "a.yaml", NODE_PORT_SERVICE("a", "10.96.0.1", "30080"));
	when_opened(fixture);
	when_written(fixture, "b.yaml", NODE_PORT_SERVICE("b", "10.96.0.2", "30080"));
	then_settled(fixture);
	assert_null(model_service(fixture->model, "default", "b"));
	assert_string_equal(fixture->warned, "node-port-taken");
	assert_int_equal(fixture->rejected, 1);
	when_written(fixture, "a.yaml", NODE_PORT_SERVICE("a", "10.96.0.1", "30081"));
	then_port(fixture, "b", 80);
	assert_string_equal(fixture->warned, "node-port-taken");
}

static void nodes_without_this_one_are_a_mistake(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_written(fixture, "a.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: nodeX}\n");
	assert_int_equal(when_tried(fixture, fixture->dir), -EINVAL);
	assert_string_equal(fixture->warned, "no-node");
	when_written(fixture, "b.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\n");
	when_opened(fixture);
	/* Once, not at each change. */
	assert_int_equal(remove(path_of(fixture, "b.yaml")), 0);
	then_settled(fixture);
	then_settled(fixture);
	assert_string_equal(fixture->warned, "no-node no-node");
}

/* The Service "web" on a port of that name, and a slice with a port of that name. */
static void when_web_written(const struct fixture *fixture, const char *port_name,
			     unsigned int port)
{
	char text[256];

	(void)snprintf(text, sizeof(text),
		       "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
		       "spec: {clusterIP: 10.96.0.1, ports: [{name: %s, port: %u}]}\n",
		       port_name, port);
	when_written(fixture, "service.yaml", text);
}

static void when_web_slice_written(const struct fixture *fixture, const char *name,
				   const char *port_name)
{
	char text[512];

	(void)snprintf(text, sizeof(text), SLICE("%s", "web", "{name: %s, port: 8080}"), name,
		       port_name);
	when_written(fixture, "slices.yaml", text);
}

static bool has_slice(const struct fixture *fixture, const char *name)
{
	return model_get(fixture->model, OBJECT_ENDPOINT_SLICE, "default", name);
}

static void given_web_with_strict(struct fixture *fixture)
{
	fixture->is_strict = true;
	when_web_written(fixture, "http", 1);
	when_web_slice_written(fixture, "one", "http");
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "web"), 1);
	assert_true(has_slice(fixture, "one"));
}

static void with_strict_a_service_waits_for_the_slices_that_fit_it(void **state)
{
	struct fixture *fixture = *state;

	given_web_with_strict(fixture);
	when_web_written(fixture, "web", 2);
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "web"), 1);
	assert_string_equal(fixture->warned, "port-unmatched");
	assert_int_equal(fixture->rejected, 1);
	then_settled(fixture);
	assert_string_equal(fixture->warned, "port-unmatched");
	when_web_slice_written(fixture, "two", "web");
	then_port(fixture, "web", 2);
	assert_true(has_slice(fixture, "two"));
	assert_false(has_slice(fixture, "one"));
	assert_int_equal(fixture->rejected, 1);
}

static void with_strict_slices_wait_for_the_service_that_fits_them(void **state)
{
	struct fixture *fixture = *state;

	given_web_with_strict(fixture);
	when_web_slice_written(fixture, "two", "web");
	then_settled(fixture);
	assert_true(has_slice(fixture, "one"));
	assert_false(has_slice(fixture, "two"));
	assert_int_equal(fixture->rejected, 1);
	when_web_written(fixture, "web", 2);
	then_port(fixture, "web", 2);
	assert_true(has_slice(fixture, "two"));
	assert_false(has_slice(fixture, "one"));
}

static void with_strict_a_mistake_that_is_taken_back_leaves_no_trace(void **state)
{
	struct fixture *fixture = *state;

	given_web_with_strict(fixture);
	then_settled(fixture);
	(void)dirty_count(fixture);
	when_web_slice_written(fixture, "two", "web");
	then_settled(fixture);
	when_web_slice_written(fixture, "one", "http");
	then_settled(fixture);
	assert_int_equal(dirty_count(fixture), 1); /* the one that then_settled writes */
	assert_true(has_slice(fixture, "one"));
	when_web_written(fixture, "http", 2);
	then_port(fixture, "web", 2);
}

static void with_strict_what_is_removed_is_gone(void **state)
{
	struct fixture *fixture = *state;

	given_web_with_strict(fixture);
	assert_int_equal(unlink(path_of(fixture, "slices.yaml")), 0);
	then_settled(fixture);
	assert_false(has_slice(fixture, "one"));
	assert_int_equal(port_of(fixture, "web"), 1);
	when_web_slice_written(fixture, "two", "web");
	then_settled(fixture);
	assert_false(has_slice(fixture, "two"));
	assert_int_equal(unlink(path_of(fixture, "service.yaml")), 0);
	then_port(fixture, "web", 0);
	assert_true(has_slice(fixture, "two"));
}

static void with_strict_a_slice_moves_to_another_service(void **state)
{
	struct fixture *fixture = *state;
	const struct slice_object **slices = NULL;

	given_web_with_strict(fixture);
	when_written(fixture, "slices.yaml", SLICE("one", "else", "{name: http, port: 8080}"));
	then_settled(fixture);
	assert_int_equal(model_slices(fixture->model,
				      model_service(fixture->model, "default", "web"), &slices),
			 0);
	free(slices);
	assert_true(has_slice(fixture, "one"));
}

static void with_strict_objects_of_other_kinds_are_used_at_once(void **state)
{
	struct fixture *fixture = *state;

	fixture->is_strict = true;
	when_opened(fixture);
	when_written(fixture, "node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n");
	then_settled(fixture);
	assert_non_null(model_node(fixture->model, "n"));
	assert_int_equal(unlink(path_of(fixture, "node.yaml")), 0);
	then_settled(fixture);
	assert_null(model_node(fixture->model, "n"));
}

static void with_strict_a_service_without_an_address_of_its_own_waits_for_one(void **state)
{
	struct fixture *fixture = *state;
	char taken[256];

	given_range(fixture, "10.0.0.0/30");
	fixture->is_strict = true;
	when_written(fixture, "a.yaml", BARE_SERVICE("a", "1"));
	when_written(fixture, "c.yaml", service_text("c", 1));
	when_opened(fixture);
	when_written(fixture, "b.yaml", BARE_SERVICE("b", "2"));
	(void)snprintf(taken, sizeof(taken),
		       "apiVersion: v1\nkind: Service\nmetadata: {name: c}\n"
		       "spec: {clusterIP: %s, ports: [{port: 2}]}\n",
		       cluster_ip_of(fixture, "a"));
	when_written(fixture, "c.yaml", taken);
	then_settled(fixture);
	assert_int_equal(port_of(fixture, "b"), 0);
	assert_int_equal(port_of(fixture, "c"), 1);
	assert_int_equal(fixture->rejected, 2);
	when_written(fixture, "d.yaml", service_text("d", 1));
	then_port(fixture, "d", 1);
	assert_int_equal(unlink(path_of(fixture, "d.yaml")), 0);
	then_port(fixture, "d", 0);
	assert_string_equal(fixture->warned, "no-cluster-ip cluster-ip-taken");
	assert_int_equal(unlink(path_of(fixture, "a.yaml")), 0);
	then_port(fixture, "c", 2);
	assert_int_equal(unlink(path_of(fixture, "c.yaml")), 0);
	then_port(fixture, "b", 2);
	assert_string_equal(cluster_ip_of(fixture, "b"), "10.0.0.2");
	assert_int_equal(fixture->rejected, 2);
}

static void what_is_no_regular_file_is_reported_and_does_not_block(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(mkfifo(path_of(fixture, "fifo.yaml"), 0600), 0);
	assert_int_equal(mkdir(path_of(fixture, "folder.yaml"), 0755), 0);
	assert_int_equal(symlink("nothing", path_of(fixture, "dangling.yaml")), 0);
	when_written(fixture, "a.yaml", service_text("a", 1));
	when_opened(fixture);
	assert_int_equal(port_of(fixture, "a"), 1);
	assert_int_equal(fixture->rejected, 2);
}

int main(void)
{
#define manifests_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		manifests_test(the_first_read_is_complete_and_calls_nobody),
		manifests_test(a_folder_that_does_not_exist_is_an_error),
		manifests_test(files_are_added_changed_and_removed),
		manifests_test(only_objects_that_differ_become_dirty),
		manifests_test(many_files_at_once_are_one_change),
		manifests_test(a_file_that_is_being_written_is_not_read),
		manifests_test(a_file_that_cannot_be_parsed_keeps_what_it_gave),
		manifests_test(a_bad_object_is_skipped_and_counted_and_the_others_are_used),
		manifests_test(of_two_files_with_one_object_the_last_name_counts),
		manifests_test(the_later_of_two_in_one_file_counts),
		manifests_test(a_symlink_swap_is_seen),
		manifests_test(links_are_read_when_they_appear),
		manifests_test(an_editor_that_puts_the_old_file_aside_does_no_harm),
		manifests_test(a_renamed_manifest_changes_nothing),
		manifests_test(a_replaced_folder_keeps_its_state_until_it_is_back),
		manifests_test(what_may_be_a_mistake_is_counted_and_used_all_the_same),
		manifests_test(with_strict_a_mistake_at_the_start_is_an_error),
		manifests_test(a_slice_whose_service_no_file_has_is_a_mistake),
		manifests_test(services_with_one_address_or_node_port_are_both_named),
		manifests_test(with_strict_a_service_waits_for_the_node_port_of_another),
		manifests_test(nodes_without_this_one_are_a_mistake),
		manifests_test(with_strict_a_file_with_a_mistake_keeps_what_it_gave),
		manifests_test(services_without_a_cluster_ip_get_one_that_others_do_not_have),
		manifests_test(a_service_for_which_there_is_no_address_is_warned_about),
		manifests_test(a_service_for_which_there_was_no_address_gets_that_of_one_that_goes),
		manifests_test(a_service_that_waits_gets_the_address_that_another_one_leaves),
		manifests_test(a_service_that_another_file_has_as_well_keeps_an_address),
		manifests_test(a_service_that_was_rejected_at_the_start_finds_its_address),
		manifests_test(a_port_that_no_slice_has_is_warned_about_when_all_files_are_read),
		cmocka_unit_test(the_time_to_match_ports_grows_with_their_number),
		manifests_test(a_service_without_endpoints_has_no_port_to_match),
		manifests_test(with_strict_a_port_that_no_slice_has_is_an_error_at_the_start),
		manifests_test(with_strict_a_service_waits_for_the_slices_that_fit_it),
		manifests_test(with_strict_slices_wait_for_the_service_that_fits_them),
		manifests_test(with_strict_a_mistake_that_is_taken_back_leaves_no_trace),
		manifests_test(with_strict_what_is_removed_is_gone),
		manifests_test(with_strict_a_slice_moves_to_another_service),
		manifests_test(with_strict_objects_of_other_kinds_are_used_at_once),
		manifests_test(with_strict_a_service_without_an_address_of_its_own_waits_for_one),
		manifests_test(what_is_no_regular_file_is_reported_and_does_not_block),
	};

	return cmocka_run_group_tests_name("manifests", tests, NULL, NULL);
}
