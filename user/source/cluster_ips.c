/* SPDX-License-Identifier: BSD-2-Clause */
#include "source/cluster_ips.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uthash.h"
#include "model/cidr.h"

#define FILE_NAME      "cluster-ips"
#define RANGE_BITS_MAX 32 /* of a larger range, only the first addresses are used */
#define LINE_SIZE      (2 * OBJECT_NAME_MAX + ADDRESS_TEXT_SIZE)

/* An address that was chosen for a Service. */
struct choice {
	struct ip_addr addr;
	UT_hash_handle by_addr;
	UT_hash_handle by_name; /* the key: "4" or "6" for the family, then the Service */
	char key[];
};

struct cluster_ips {
	const struct cidr *ranges;
	size_t range_count;
	struct choice *by_addr, *by_name;
	struct written *written; /* the addresses of the model's Services, during a batch */
	bool is_full[2];         /* by family: none is free, until the batch ends */
	bool is_changed;         /* the file has other choices */
	char *path;              /* NULL: there is no file */
};

/* An address that is in a manifest. */
struct written {
	struct ip_addr addr;
	UT_hash_handle hh;
};

static char *key_alloc(enum ip_family family, const char *namespace_, const char *name)
{
	char *key;

	return asprintf(&key, "%d%s/%s", (int)family, namespace_, name) < 0 ? NULL : key;
}

static const char *choice_service(const struct choice *choice)
{
	return choice->key + 1;
}

static struct choice *choice_find(const struct cluster_ips *ips, enum ip_family family,
				  const struct object *service)
{
	auto_cleanup(cleanup_free) char *key =
		key_alloc(family, service->namespace_, service->name);
	struct choice *choice = NULL;

	if (key)
		HASH_FIND(by_name, ips->by_name, key, strlen(key), choice);
	return choice;
}

static struct choice *choice_at(const struct cluster_ips *ips, const struct ip_addr *addr)
{
	struct choice *choice;

	HASH_FIND(by_addr, ips->by_addr, addr, sizeof(*addr), choice);
	return choice;
}

static void choice_delete(struct cluster_ips *ips, struct choice *choice)
{
	HASH_DELETE(by_addr, ips->by_addr, choice);
	HASH_DELETE(by_name, ips->by_name, choice);
	free(choice);
}

/* Refuses a second choice of a Service or for an address with -EEXIST. */
static int choice_add(struct cluster_ips *ips, const char *key, const struct ip_addr *addr)
{
	size_t size = strlen(key) + 1;
	struct choice *choice;
	bool no_memory = false;

	HASH_FIND(by_name, ips->by_name, key, size - 1, choice);
	if (choice || choice_at(ips, addr))
		return -EEXIST;
	choice = calloc(1, sizeof(*choice) + size);
	if (!choice)
		return -ENOMEM;
	choice->addr = *addr;
	memcpy(choice->key, key, size);
	HASH_ADD(by_addr, ips->by_addr, addr, sizeof(choice->addr), choice);
	if (no_memory) {
		free(choice);
		return -ENOMEM;
	}
	HASH_ADD_KEYPTR(by_name, ips->by_name, choice->key, size - 1, choice);
	if (!no_memory)
		return 0;
	HASH_DELETE(by_addr, ips->by_addr, choice);
	free(choice);
	return -ENOMEM;
}

static bool is_in_ranges(const struct cluster_ips *ips, const struct ip_addr *addr)
{
	for (size_t i = 0; i < ips->range_count; i++) {
		if (cidr_has(&ips->ranges[i], addr))
			return true;
	}
	return false;
}

/*
 * Reads "NAMESPACE/NAME ADDRESS". Lines of another form are left out, addresses that were chosen
 * from other ranges, and whatever an earlier line has.
 */
static int choice_read(struct cluster_ips *ips, char *line)
{
	char *space = strchr(line, ' ');
	auto_cleanup(cleanup_free) char *key = NULL;
	struct ip_addr addr;
	int err;

	if (!space || *line == '#')
		return 0;
	*space = '\0';
	space[1 + strcspn(space + 1, "\n")] = '\0';
	if (address_parse(space + 1, &addr) || !is_in_ranges(ips, &addr) || !strchr(line, '/'))
		return 0;
	if (asprintf(&key, "%d%s", (int)address_family(&addr), line) < 0)
		return -ENOMEM;
	err = choice_add(ips, key, &addr);
	return err == -EEXIST ? 0 : err;
}

static int choices_load(struct cluster_ips *ips)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(ips->path, "re");
	char line[LINE_SIZE];
	int err = 0;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	while (!err && fgets(line, sizeof(line), file))
		err = choice_read(ips, line);
	return err ? err : ferror(file) ? -EIO : 0;
}

struct cluster_ips *cluster_ips_new(const struct cidr *ranges, size_t range_count,
				    const char *state_dir)
{
	struct cluster_ips *ips = calloc(1, sizeof(*ips));
	int err;

	if (!ips)
		return NULL;
	ips->ranges = ranges;
	ips->range_count = range_count;
	if (!range_count || !state_dir)
		return ips;
	(void)mkdir(state_dir, 0755);
	if (asprintf(&ips->path, "%s/" FILE_NAME, state_dir) < 0) {
		ips->path = NULL;
		cluster_ips_free(ips);
		return NULL;
	}
	err = choices_load(ips);
	if (err)
		(void)log_err(err, "cannot read the ClusterIPs of an earlier run in %s, continuing",
			      ips->path);
	return ips;
}

void cluster_ips_free(struct cluster_ips *ips)
{
	struct choice *choice, *next;

	if (!ips)
		return;
	HASH_ITER (by_name, ips->by_name, choice, next)
		choice_delete(ips, choice);
	free(ips->path);
	free(ips);
}

bool cluster_ips_has_ranges(const struct cluster_ips *ips)
{
	return ips->range_count;
}

static enum ip_family other_family(enum ip_family family)
{
	return family == FAMILY_IPV4 ? FAMILY_IPV6 : FAMILY_IPV4;
}

static bool has_range(const struct cluster_ips *ips, enum ip_family family)
{
	for (size_t i = 0; i < ips->range_count; i++) {
		if (cidr_family(&ips->ranges[i]) == family)
			return true;
	}
	return false;
}

/*
 * The families whose ClusterIP a Service lacks, by ipFamilies and ipFamilyPolicy; the family of the
 * first range is the default. Returns their number.
 */
static size_t families_lacking(const struct cluster_ips *ips, const struct object *object,
			       enum ip_family ret_families[2])
{
	const struct service_object *service = &object->service;
	enum ip_family first;
	size_t count = 0;

	if (!ips->range_count || !object_is_served_service(object))
		return 0;
	first = service->cluster_ip_count ? address_family(&service->cluster_ips[0])
		: service->ip_families[0] ? (enum ip_family)service->ip_families[0]
					  : cidr_family(&ips->ranges[0]);
	if (!service_has_family(service, first))
		ret_families[count++] = first;
	if (service_has_family(service, other_family(first)))
		return count;
	if (service->ip_families[1] || service->ip_family_policy == FAMILY_POLICY_REQUIRE_DUAL ||
	    (service->ip_family_policy == FAMILY_POLICY_PREFER_DUAL &&
	     has_range(ips, other_family(first))))
		ret_families[count++] = other_family(first);
	return count;
}

void cluster_ips_fill(const struct cluster_ips *ips, struct object *object)
{
	struct service_object *service = &object->service;
	enum ip_family families[2];
	size_t count = families_lacking(ips, object, families);

	for (size_t i = 0; i < count; i++) {
		const struct choice *choice = choice_find(ips, families[i], object);

		if (choice && service->cluster_ip_count < 2)
			service->cluster_ips[service->cluster_ip_count++] = choice->addr;
	}
}

static void written_forget(struct cluster_ips *ips)
{
	struct written *written, *next;

	HASH_ITER (hh, ips->written, written, next) {
		HASH_DEL(ips->written, written);
		free(written);
	}
}

static int written_add(struct cluster_ips *ips, const struct ip_addr *addrs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct written *written;
		bool no_memory = false;

		HASH_FIND(hh, ips->written, &addrs[i], sizeof(addrs[i]), written);
		if (written)
			continue;
		written = calloc(1, sizeof(*written));
		if (!written)
			return -ENOMEM;
		written->addr = addrs[i];
		HASH_ADD(hh, ips->written, addr, sizeof(written->addr), written);
		if (no_memory) {
			free(written);
			return -ENOMEM;
		}
	}
	return 0;
}

static int written_on_service(const struct object *object, void *context)
{
	const struct service_object *service = &object->service;
	int err = written_add(context, service->cluster_ips, service->cluster_ip_count);

	if (err)
		return err;
	err = written_add(context, service->external_ips, service->external_ip_count);
	if (err)
		return err;
	return written_add(context, service->load_balancer_ips, service->load_balancer_ip_count);
}

static struct ip_addr range_address(const struct cidr *range, uint64_t offset)
{
	struct ip_addr addr = range->addr;

	for (size_t i = sizeof(addr.bytes); offset; offset >>= 8)
		addr.bytes[--i] |= (__u8)offset;
	return addr;
}

/* Finds a free address from `first` to `last`; the search begins where the hash says. */
static bool part_search(const struct cluster_ips *ips, const struct cidr *range, uint64_t first,
			uint64_t last, uint64_t hash, struct ip_addr *ret_addr)
{
	uint64_t size = last - first + 1;
	const struct written *written;

	for (uint64_t i = 0; first <= last && i < size; i++) {
		*ret_addr = range_address(range, first + (hash % size + i) % size);
		HASH_FIND(hh, ips->written, ret_addr, sizeof(*ret_addr), written);
		if (!written && !choice_at(ips, ret_addr))
			return true;
	}
	return false;
}

/*
 * Without the address of the range itself, the last one (IPv4's broadcast), and the first one,
 * which clusters give to their API server.
 */
static bool range_search(const struct cluster_ips *ips, const struct cidr *range, uint64_t hash,
			 struct ip_addr *ret_addr)
{
	unsigned int bits = 128U - range->prefix;
	uint64_t size = 1ULL << (bits < RANGE_BITS_MAX ? bits : RANGE_BITS_MAX);
	uint64_t first = 2, upper = size / 16;

	if (size <= first + 1)
		return false;
	upper = upper < 16 ? 16 : upper > 256 ? 256 : upper;
	if (size <= 16)
		upper = first;
	return part_search(ips, range, upper, size - 2, hash, ret_addr) ||
	       part_search(ips, range, first, upper - 1, hash, ret_addr);
}

static bool address_search(const struct cluster_ips *ips, enum ip_family family,
			   const char *service, struct ip_addr *ret_addr)
{
	for (size_t i = 0; i < ips->range_count; i++) {
		if (cidr_family(&ips->ranges[i]) == family &&
		    range_search(ips, &ips->ranges[i], text_hash(service, strlen(service)),
				 ret_addr))
			return true;
	}
	return false;
}

/* Chooses an address of a family for a Service: the one that was chosen before, if there is one. */
static int family_choose(struct cluster_ips *ips, struct model *model, enum ip_family family,
			 const struct object *service, struct ip_addr *ret_addr,
			 const char **ret_why)
{
	auto_cleanup(cleanup_free) char *key =
		key_alloc(family, service->namespace_, service->name);
	const struct choice *own = choice_find(ips, family, service);
	bool *is_full = &ips->is_full[family == FAMILY_IPV6];
	bool is_found;

	if (own) {
		*ret_addr = own->addr;
		return 0;
	}
	if (!key || (!ips->written && model_each(model, OBJECT_SERVICE, written_on_service, ips)))
		return -ENOMEM;
	is_found = !*is_full && address_search(ips, family, key + 1, ret_addr);
	if (!is_found && !*is_full) {
		cluster_ips_forget_others(ips, model);
		is_found = address_search(ips, family, key + 1, ret_addr);
	}
	*is_full = !is_found;
	if (!is_found) {
		*ret_why = !has_range(ips, family) ? family == FAMILY_IPV4 ? "has no IPv4 range"
									   : "has no IPv6 range"
			   : family == FAMILY_IPV4 ? "has no free IPv4 address"
						   : "has no free IPv6 address";
		return -EADDRNOTAVAIL;
	}
	ips->is_changed = true;
	return choice_add(ips, key, ret_addr);
}

int cluster_ips_choose(struct cluster_ips *ips, struct model *model, const char *namespace_,
		       const char *name, const char **ret_why)
{
	const struct object *known = model_service(model, namespace_, name);
	struct object *service;
	enum ip_family families[2];
	size_t count = known ? families_lacking(ips, known, families) : 0;
	int err = 0;

	if (!count)
		return 0;
	service = object_new(known);
	if (!service)
		return -ENOMEM;
	for (size_t i = 0; !err && i < count; i++) {
		struct service_object *chosen = &service->service;

		err = family_choose(ips, model, families[i], known,
				    &chosen->cluster_ips[chosen->cluster_ip_count], ret_why);
		if (!err)
			chosen->cluster_ip_count++;
	}
	if (err == -ENOMEM) {
		object_free(service);
		return err;
	}
	return model_complete(model, service) ? -ENOMEM : err;
}

/* True if the model's Service has the address that was chosen for it. */
static bool choice_is_used(const struct choice *choice, const struct model *model)
{
	const char *name = strchr(choice_service(choice), '/') + 1;
	auto_cleanup(cleanup_free) char *namespace_ =
		strndup(choice_service(choice), (size_t)(name - 1 - choice_service(choice)));
	const struct object *service = namespace_ ? model_service(model, namespace_, name) : NULL;

	for (size_t i = 0; service && i < service->service.cluster_ip_count; i++) {
		if (address_equal(&service->service.cluster_ips[i], &choice->addr))
			return true;
	}
	return false;
}

const char *cluster_ips_owner(const struct cluster_ips *ips, const struct model *model,
			      const struct object *service)
{
	for (size_t i = 0; i < service->service.cluster_ip_count; i++) {
		const struct ip_addr *addr = &service->service.cluster_ips[i];
		const struct choice *choice = choice_at(ips, addr);

		if (choice && choice != choice_find(ips, address_family(addr), service) &&
		    choice_is_used(choice, model))
			return choice_service(choice);
	}
	return NULL;
}

void cluster_ips_forget_others(struct cluster_ips *ips, const struct model *model)
{
	struct choice *choice, *next;

	HASH_ITER (by_name, ips->by_name, choice, next) {
		if (choice_is_used(choice, model))
			continue;
		choice_delete(ips, choice);
		ips->is_changed = true;
	}
}

static void choices_write(FILE *file, const void *context)
{
	const struct cluster_ips *ips = context;
	char text[ADDRESS_TEXT_SIZE];

	(void)fputs("# The ClusterIPs that fairlead has chosen from --service-cidr.\n", file);
	for (const struct choice *choice = ips->by_name; choice; choice = choice->by_name.next)
		(void)fprintf(file, "%s %s\n", choice_service(choice),
			      address_format(&choice->addr, text));
}

void cluster_ips_keep(struct cluster_ips *ips)
{
	int err;

	written_forget(ips);
	memset(ips->is_full, 0, sizeof(ips->is_full));
	if (!ips->is_changed || !ips->path)
		return;
	err = file_replace(ips->path, choices_write, ips);
	if (!err)
		ips->is_changed = false;
	else
		(void)log_err(err,
			      "cannot keep the ClusterIPs for the next start in %s, continuing",
			      ips->path);
}
