/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Gives memory back that only the start needed: what is free of the heap, and the resident pages of
 * programs and libraries. These are the files' own pages in the page cache: those that are needed
 * again come back from there without being read. Silent.
 */
void memory_trim(void);
