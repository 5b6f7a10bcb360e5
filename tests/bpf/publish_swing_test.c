/* SPDX-License-Identifier: BSD-2-Clause */

/* Many changes: a reader sees each whole, and in the end the maps are as if made afresh. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/log.h"
#include "base/map.h"

#define REPLACEMENTS 20000
#define SET_A_FIRST  1
#define SET_A_COUNT  7
#define SET_B_FIRST  101
#define SET_B_COUNT  100

#define INTERRUPTION 200

struct watcher {
	struct fixture *fixture;
	struct service *service;
	bool stop;
	uint64_t looks, wrong;
};

/* True if the list, read as a program reads it, is one of the two, whole, and all of it can be
 * served. */
static bool list_is_sound(const struct fixture *fixture, const uint64_t *word)
{
	uint64_t value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	struct slot_range range;
	unsigned int in_a = 0, in_b = 0;

	memcpy(&range, &value, sizeof(range));
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = *(volatile uint32_t *)&fixture->slots[range.first + i].backend;
		const volatile struct backend *backend = &fixture->backends[id];
		uint8_t number = backend->addr.bytes[15];
		uint8_t state = backend->state;

		/* The backend may have begun to leave since the word was read, but it is whole. */
		if (!id || (state != BACKEND_ACTIVE && state != BACKEND_DRAINING) ||
		    backend->port != htons(8080))
			return false;
		in_a += number >= SET_A_FIRST && number < SET_A_FIRST + SET_A_COUNT;
		in_b += number >= SET_B_FIRST && number < SET_B_FIRST + SET_B_COUNT;
	}
	return (in_a == SET_A_COUNT && range.count == SET_A_COUNT) ||
	       (in_b == SET_B_COUNT && range.count == SET_B_COUNT);
}

static void *watch(void *context)
{
	struct watcher *watcher = context;

	while (!__atomic_load_n(&watcher->stop, __ATOMIC_RELAXED)) {
		const struct service *service = watcher->service;
		uint32_t flags = *(const volatile uint32_t *)&service->flags;
		const void *word = flags & SERVICE_INTERNAL_LOCAL ? &service->local_slots
								  : &service->cluster_slots;

		/* A program may be interrupted here. */
		for (volatile int i = 0; i < INTERRUPTION; i++)
			continue;
		watcher->wrong += !list_is_sound(watcher->fixture, word);
		watcher->looks++;
	}
	return NULL;
}

/*
 * Real time passes between reads, so what is read late is still within its grace period; the
 * publisher's clock is the real one too, and room is made by it, not by hand.
 */
static void watch_while(bool changes_policy)
{
	const struct sizes sizes = {8, 1 << 22, 1024, 8, 1024};
	struct fixture *fixture = given_maps(&sizes);
	struct watcher watcher = {.fixture = fixture};
	struct port_plan sets[2];
	pthread_t thread;

	when_started(fixture);
	for (int i = 0; i < 2; i++) {
		port_begin(&sets[i], "web", "10.96.0.1", IPPROTO_TCP);
		for (uint32_t j = 0; j < (i ? SET_B_COUNT : SET_A_COUNT); j++)
			port_add(&sets[i], (i ? SET_B_FIRST : SET_A_FIRST) + j)->is_local = true;
	}
	if (changes_policy)
		port_make_local(&sets[1]);
	assert_int_equal(when_applied(fixture, &sets[0]), 0);
	watcher.service = service_of(fixture, "10.96.0.1");
	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);

	for (int i = 1; i <= REPLACEMENTS; i++) {
		assert_int_equal(when_applied(fixture, &sets[i % 2]), 0);
		(void)publisher_reclaim(fixture->publisher, now_ns());
		if (i % 100 == 0)
			(void)sched_yield();
	}

	__atomic_store_n(&watcher.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(watcher.wrong, 0);
	assert_true(watcher.looks > 100);
	fixture_free(fixture);
}

static void test_atomicity(void **state)
{
	(void)state;
	watch_while(false);
}

static void test_policy_atomicity(void **state)
{
	(void)state;
	watch_while(true);
}

#define RANDOM_ROUNDS   4000
#define RANDOM_SERVICES 50
#define RANDOM_SEEDS    3

static uint32_t random_next(uint64_t *seed)
{
	/* Knuth's MMIX generator; its upper bits are good enough here. */
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static void random_plan(uint64_t *seed, uint32_t service, struct port_plan *plan)
{
	uint32_t count = random_next(seed) % 9, first = random_next(seed) % 40;
	char name[16], vip[32];

	(void)snprintf(name, sizeof(name), "s%u", service);
	(void)snprintf(vip, sizeof(vip), service % 4 ? "10.96.0.%u" : "fd00:96::%u",
		       service + 1 + (random_next(seed) % 8 ? 0 : 100));
	port_begin(plan, name, vip, service % 3 ? IPPROTO_TCP : IPPROTO_UDP);
	for (uint32_t i = 0; i < count; i++) {
		struct planned_backend *backend =
			port_add(plan, first + i * (1 + random_next(seed) % 2) * 2);

		backend->port = htons((uint16_t)(8080 + i));
		backend->is_local = backend->addr.bytes[15] % 3 == 0;
		backend->terminating = random_next(seed) % 6 == 0;
		if (backend->terminating || random_next(seed) % 6 == 0)
			backend->in_cluster = false;
	}
	if (random_next(seed) % 3 == 0)
		port_make_local(plan);
	if (random_next(seed) % 4 == 0)
		plan->port.affinity_timeout_s = 1 + random_next(seed) % 1000;
	if (random_next(seed) % 10 == 0)
		plan->port.unprogrammed = UNPROGRAMMED_LOCAL_ADDRESS;
}

/* One line, without ids, for what the maps say. */
struct lines {
	char **items;
	size_t count, room;
};

static void lines_add(struct lines *lines, const char *text)
{
	if (lines->count == lines->room) {
		lines->room = lines->room ? lines->room * 2 : 64;
		lines->items = realloc(lines->items, lines->room * sizeof(*lines->items));
		assert_non_null(lines->items);
	}
	lines->items[lines->count++] = strdup(text);
}

static void lines_fini(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		free(lines->items[i]);
	free(lines->items);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A list as "first" and its members' addresses, sorted. */
static void list_describe(struct fixture *fixture, struct slot_range range, char *text, size_t size)
{
	struct lines members = {};
	char one[ADDRESS_TEXT_SIZE];
	size_t len = strlen(text);

	if (!range.count)
		(void)snprintf(text + len, size - len, " [empty %u]", range.first);
	for (uint32_t i = 0; i < range.count; i++) {
		const struct backend *backend =
			&fixture->backends[fixture->slots[range.first + i].backend];

		assert_int_equal(backend->state, BACKEND_ACTIVE);
		lines_add(&members, endpoint_format(&backend->addr, backend->port, one));
	}
	if (members.count)
		qsort(members.items, members.count, sizeof(*members.items), compare_lines);
	for (size_t i = 0; i < members.count; i++) {
		len = strlen(text);
		(void)snprintf(text + len, size - len, " %s", members.items[i]);
	}
	lines_fini(&members);
}

struct description {
	struct fixture *fixture;
	struct lines *lines;
};

static void frontend_describe(const void *key, const void *value, void *context)
{
	const struct description *description = context;
	const struct fixture *fixture = description->fixture;
	const struct frontend_target *target = value;
	const struct frontend *frontend = key;
	const struct service *service = &fixture->services[target->service];
	char text[TEXT_SIZE], one[ADDRESS_TEXT_SIZE];
	struct service_name name;
	size_t len;

	assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &target->service, &name),
			 0);
	(void)snprintf(text, sizeof(text), "%s/%u -> %s %u/%u/%u flags %u affinity %u:",
		       endpoint_format(&frontend->vip, frontend->port, one), frontend->proto,
		       name.name, name.ready, name.total, name.draining, service->flags,
		       service->affinity_timeout_s);
	list_describe(description->fixture, service->cluster_slots, text, sizeof(text));
	len = strlen(text);
	(void)snprintf(text + len, sizeof(text) - len, " |");
	list_describe(description->fixture, service->local_slots, text, sizeof(text));
	lines_add(description->lines, text);
}

static void address_describe(const void *key, const void *value, void *context)
{
	const struct description *description = context;
	const struct address_info *info = value;
	char text[TEXT_SIZE], one[ADDRESS_TEXT_SIZE];

	(void)snprintf(text, sizeof(text), "address %s %u", address_format(key, one), info->flags);
	lines_add(description->lines, text);
}

static void backends_describe(const struct fixture *fixture, struct lines *lines)
{
	char text[TEXT_SIZE], one[ADDRESS_TEXT_SIZE];

	for (uint32_t id = 1; id < fixture->sizes.backends; id++) {
		const struct backend *backend = &fixture->backends[id];

		if (backend->state == BACKEND_FREE)
			continue;
		(void)snprintf(text, sizeof(text), "backend %s/%u state %u flags %u",
			       endpoint_format(&backend->addr, backend->port, one), backend->proto,
			       backend->state, backend->flags);
		lines_add(lines, text);
	}
}

static void reason_describe(const void *key, const void *value, void *context)
{
	const struct description *description = context;
	const struct unprogrammed_key *reason = key;
	char text[TEXT_SIZE];

	(void)value;
	(void)snprintf(text, sizeof(text), "unprogrammed %s", reason->name);
	lines_add(description->lines, text);
}

static struct lines describe(struct fixture *fixture)
{
	struct lines lines = {};
	struct description description = {fixture, &lines};

	assert_int_equal(map_each(fixture->maps.frontends, frontend_describe, &description), 0);
	assert_int_equal(map_each(fixture->maps.addresses, address_describe, &description), 0);
	backends_describe(fixture, &lines);
	assert_int_equal(map_each(fixture->maps.unprogrammed, reason_describe, &description), 0);
	if (lines.count)
		qsort(lines.items, lines.count, sizeof(*lines.items), compare_lines);
	return lines;
}

static void then_same(struct fixture *fixture, struct fixture *fresh)
{
	struct lines got = describe(fixture), expected = describe(fresh);

	for (size_t i = 0; i < got.count && i < expected.count; i++)
		assert_string_equal(got.items[i], expected.items[i]);
	assert_int_equal(got.count, expected.count);
	lines_fini(&got);
	lines_fini(&expected);
}

static void then_numbers_same(struct fixture *fixture, struct fixture *fresh)
{
	struct publisher_numbers got = numbers_of(fixture), expected = numbers_of(fresh);

	assert_int_equal(got.service_ports, expected.service_ports);
	assert_int_equal(got.backends, expected.backends);
	assert_int_equal(got.draining, expected.draining);
	assert_int_equal(got.slots, expected.slots);
	assert_int_equal(got.frontends, expected.frontends);
	assert_int_equal(got.unfitting, 0);
}

/* Flows come and go meanwhile; in the end there are none, so nothing has a reason to stay. */
static void random_flows(struct fixture *fixture, uint64_t *seed, bool none)
{
	for (uint32_t i = 1; i < fixture->sizes.addresses; i++)
		fixture->address_flows[i].confirmed = none ? 0 : random_next(seed) % 2;
}

static void random_apply(struct fixture *fixture, struct port_plan *plans, const bool *is_there)
{
	for (uint32_t i = 0; i < RANDOM_SERVICES; i++) {
		if (is_there[i])
			assert_int_equal(when_applied(fixture, &plans[i]), 0);
	}
}

static void random_run(uint64_t seed)
{
	/* Ids wait for flows, so there are more than are in use at a time. */
	const struct sizes sizes = {1024, 8192, 1024, 1024, 2048};
	struct fixture *fixture = given_maps(&sizes), *fresh = given_maps(&sizes);
	struct port_plan *last = calloc(RANDOM_SERVICES, sizeof(*last));
	bool is_there[RANDOM_SERVICES] = {};

	assert_non_null(last);
	when_started(fixture);
	for (uint32_t round = 0; round < RANDOM_ROUNDS; round++) {
		uint32_t service = random_next(&seed) % RANDOM_SERVICES;

		is_there[service] = random_next(&seed) % 5;
		if (is_there[service]) {
			random_plan(&seed, service, &last[service]);
			assert_int_equal(when_applied(fixture, &last[service]), 0);
		} else if (last[service].port.name.name[0]) {
			when_gone(fixture, last[service].port.name.name);
		}
		if (random_next(&seed) % 8 == 0)
			random_flows(fixture, &seed, false);
		if (random_next(&seed) % 4 == 0)
			when_later(fixture, random_next(&seed) % 4);
		if (random_next(&seed) % 200 == 0) {
			when_restarted(fixture);
			random_apply(fixture, last, is_there);
			publisher_remove_unclaimed(fixture->publisher);
		}
	}
	random_flows(fixture, &seed, true);
	when_settled(fixture);

	when_started(fresh);
	random_apply(fresh, last, is_there);
	then_same(fixture, fresh);
	then_numbers_same(fixture, fresh);
	/* Nothing was lost on the way: all of it can be taken away. */
	for (uint32_t i = 0; i < RANDOM_SERVICES; i++) {
		if (is_there[i])
			when_gone(fixture, last[i].port.name.name);
	}
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
	assert_int_equal(map_count(fixture->maps.frontends), 0);
	assert_int_equal(map_count(fixture->maps.service_names), 0);
	assert_int_equal(numbers_of(fixture).backends, 0);
	assert_int_equal(numbers_of(fixture).slots, 0);
	assert_int_equal(publisher_reclaim(fixture->publisher, now_ns() + fixture->ahead_ns), 0);
	fixture_free(fixture);
	fixture_free(fresh);
	free(last);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= RANDOM_SEEDS; seed++)
		random_run(seed);
}

#define FEW_SERVICES  10
#define MANY_SERVICES 10000
#define MANY_BACKENDS 10 /* of each */

/* The backends of a change are none of another. */
static void many_plan(struct port_plan *plan, uint32_t service, uint32_t change)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "service-%u", service);
	port_begin(plan, name, "10.96.0.1", IPPROTO_TCP);
	plan->frontend.frontend.vip.bytes[13] = (uint8_t)(96 + (service >> 16));
	plan->frontend.frontend.vip.bytes[14] = (uint8_t)(service >> 8);
	plan->frontend.frontend.vip.bytes[15] = (uint8_t)service;
	for (uint32_t i = 0; i < MANY_BACKENDS; i++) {
		struct planned_backend *backend = port_add(plan, 0);
		uint32_t number = htonl(0x0a000000U + service * MANY_BACKENDS + i + (change << 20));

		memcpy(&backend->addr.bytes[12], &number, sizeof(number));
	}
}

/* What this process computed; other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t many_apply_one(struct fixture *fixture, uint32_t service, uint32_t change)
{
	struct port_plan plan;
	uint64_t begun_ns;

	many_plan(&plan, service, change);
	begun_ns = cpu_ns();
	assert_int_equal(when_applied(fixture, &plan), 0);
	return cpu_ns() - begun_ns;
}

static uint64_t many_apply(struct fixture *fixture, uint32_t count)
{
	uint64_t took_ns = 0;

	for (uint32_t i = 0; i < count; i++)
		took_ns += many_apply_one(fixture, i, 0);
	return took_ns;
}

static int compare_times(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

#define CHANGES 101

/* The median of changes that replace all backends of one Service. */
static uint64_t many_change(struct fixture *fixture, uint32_t service)
{
	uint64_t took_ns[CHANGES];

	for (uint32_t i = 0; i < CHANGES; i++)
		took_ns[i] = many_apply_one(fixture, service, i + 1);
	qsort(took_ns, CHANGES, sizeof(took_ns[0]), compare_times);
	return took_ns[CHANGES / 2];
}

/* Memory of our own that is really there, in KiB: what is mapped of the maps is not in it. */
static unsigned long memory_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[128];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "RssAnon:", 8))
			kib = strtoul(line + 8, NULL, 10);
	}
	(void)fclose(file);
	return kib;
}

/*
 * Times of the CPU are printed, for they depend on the machine; the limits are what no machine should
 * need.
 */
static void test_many(void **state)
{
	const struct sizes sizes = {2 * MANY_SERVICES, 1 << 19, 1 << 18, 2 * MANY_SERVICES,
				    1 << 19};
	struct fixture *fixture = given_maps(&sizes);
	uint64_t first_ns, few_ns, change_ns, same_ns, open_ns, reopen_ns;
	unsigned long before_kib, after_kib;

	(void)state;
	before_kib = memory_kib();
	open_ns = cpu_ns();
	when_started(fixture);
	open_ns = cpu_ns() - open_ns;
	(void)many_apply(fixture, FEW_SERVICES);
	few_ns = many_change(fixture, 0);
	first_ns = many_apply(fixture, MANY_SERVICES);
	after_kib = memory_kib();
	change_ns = many_change(fixture, MANY_SERVICES / 2);
	(void)many_apply_one(fixture, MANY_SERVICES / 2, 0);
	same_ns = many_apply(fixture, 1000) / 1000;
	assert_int_equal(numbers_of(fixture).service_ports, MANY_SERVICES);
	assert_int_equal(numbers_of(fixture).slots, MANY_SERVICES * MANY_BACKENDS);
	when_stopped(fixture);
	reopen_ns = cpu_ns();
	when_started(fixture);
	reopen_ns = cpu_ns() - reopen_ns;
	assert_int_equal(numbers_of(fixture).service_ports, MANY_SERVICES);

	print_message(
		"# open %llu ms, %d x %d applied in %llu ms, one changed in %llu us (with %d "
		"Services: %llu us), one applied again in %llu us, adopted in %llu ms; %lu bytes "
		"of memory a backend\n",
		(unsigned long long)open_ns / 1000000, MANY_SERVICES, MANY_BACKENDS,
		(unsigned long long)first_ns / 1000000, (unsigned long long)change_ns / 1000,
		FEW_SERVICES, (unsigned long long)few_ns / 1000, (unsigned long long)same_ns / 1000,
		(unsigned long long)reopen_ns / 1000000,
		(after_kib - before_kib) * 1024 / (MANY_SERVICES * MANY_BACKENDS));
	assert_true(first_ns < 2 * NS_PER_S);
	assert_true(change_ns < NS_PER_S / 1000);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a reader sees one whole list while it is replaced without pause",
		     test_atomicity),
		TEST("a reader sees one whole list while the policy changes without pause",
		     test_policy_atomicity),
		TEST("after thousands of random changes the maps are as if made afresh",
		     test_random),
		TEST("ten thousand Services with ten backends each", test_many),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_swing", tests, NULL, NULL);
}
