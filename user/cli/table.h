/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Text output: tables with aligned columns, durations, sizes, and whether bold may be used. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table;

/* `headers` is borrowed and ends with NULL. The caller frees with table_freep. */
struct table *table_new(const char *const *headers);
void table_freep(struct table **table); /* NULL is fine */

/*
 * Adds the next cell; a new row starts once the previous one is full. An empty text shows as "-".
 */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum table_flag {
	TABLE_NO_HEADERS = 1U << 0,
	TABLE_BOLD_HEADERS = 1U << 1,
};

/* Prints the table with `indent` spaces before each line; no line ends with spaces. */
void table_print(const struct table *table, FILE *out, int indent, unsigned int flags);

/* Prints the rows of a command that lists, with headers in bold where the terminal has that. */
void table_print_list(const struct table *table, bool no_headers);

size_t table_rows(const struct table *table);

/* True if standard output is a terminal that may show bold (NO_COLOR and TERM=dumb turn it off). */
bool terminal_has_bold(void);

#define TEXT_SHORT_SIZE 32

/* "0s", "59s", "2m5s", "3h20m", "12d4h". Writes into `buf` and returns it. */
const char *duration_format(uint64_t seconds, char buf[TEXT_SHORT_SIZE]);

/* "250 us", "3.2 ms", "1.5 s". */
const char *took_format(uint64_t ns, char buf[TEXT_SHORT_SIZE]);

/* "512 B", "4.0 KiB", "14.2 MiB". */
const char *bytes_format(uint64_t bytes, char buf[TEXT_SHORT_SIZE]);
