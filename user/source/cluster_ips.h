/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Chooses the ClusterIPs that manifests leave out, from the ranges of --service-cidr, as an API
 * server would.
 *
 * The address follows from a hash of the Service's namespace and name, so that all nodes with the
 * same folder choose the same one, whatever else is in it. If another Service has that address
 * already, the next free one is chosen; that depends on who came first, so a file keeps the choices
 * for the next start. Like an API server it leaves the lower part of a range, up to 256 addresses,
 * to those who write addresses themselves, until the rest is full.
 */

#include <stdbool.h>
#include <stddef.h>

#include "model/model.h"

struct cluster_ips;

/*
 * `ranges` are borrowed; without any, nothing is chosen. The file is in `state_dir`, which is made;
 * NULL: no file. Logs a file that cannot be read. NULL: memory is short.
 */
struct cluster_ips *cluster_ips_new(const struct cidr *ranges, size_t range_count,
				    const char *state_dir);

/* NULL is fine. */
void cluster_ips_free(struct cluster_ips *ips);

/* True if there is a range to choose from. */
bool cluster_ips_has_ranges(const struct cluster_ips *ips);

/* Adds to a Service the addresses that were chosen for it before. */
void cluster_ips_fill(const struct cluster_ips *ips, struct object *service);

/*
 * Chooses the addresses that the model's Service lacks, avoiding those of all others, and puts it
 * into the model with them. Returns 0 or a negative errno: -EADDRNOTAVAIL with `ret_why`, the end
 * of a sentence, if there is none for it. Silent.
 */
int cluster_ips_choose(struct cluster_ips *ips, struct model *model, const char *namespace_,
		       const char *name, const char **ret_why);

/*
 * The Service ("namespace/name") of the model for which a ClusterIP of `service` was chosen before
 * `service` came with it; NULL: there is none.
 */
const char *cluster_ips_owner(const struct cluster_ips *ips, const struct model *model,
			      const struct object *service);

/* Forgets the choices for Services that the model does not have. */
void cluster_ips_forget_others(struct cluster_ips *ips, const struct model *model);

/* Ends a batch of choices: writes the file if they have changed. Logs. */
void cluster_ips_keep(struct cluster_ips *ips);
