/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Removes every pin, link and filter of ours from this node, and nothing else. Logs. Returns 0 or a
 * negative errno, -EBUSY if an agent is using the pins.
 */
int node_cleanup(const char *pin_dir);
