/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Returns memory that only the start needed: the free parts of the heap, and the resident pages of
 * programs and libraries. The latter are page cache pages of their files: pages that are needed
 * again are mapped from there without being read. Silent.
 */
void memory_trim(void);
