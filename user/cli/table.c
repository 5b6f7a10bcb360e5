/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/alloc.h"

#define COLUMN_GAP 2

struct table {
	const char *const *headers;
	size_t columns;
	char **cells; /* row by row */
	size_t count;
	size_t capacity;
};

struct table *table_new(const char *const *headers)
{
	struct table *table = alloc_zeroed(1, sizeof(*table));

	table->headers = headers;
	while (headers[table->columns])
		table->columns++;
	return table;
}

void table_freep(struct table **table_pointer)
{
	struct table *table = *table_pointer;

	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

void table_cell(struct table *table, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	table->cells =
		alloc_one_more(table->cells, table->count, &table->capacity, sizeof(*table->cells));
	table->cells[table->count++] = alloc_text(*text ? text : "-");
}

size_t table_rows(const struct table *table)
{
	return table->count / table->columns;
}

/* The width on the screen: continuation bytes of a UTF-8 character take no column. */
static int text_width(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void line_print(FILE *out, int indent, const char *const *cells, const int *widths,
		       size_t columns)
{
	int pad = indent;

	/* Omit blank cells at the end of a line. */
	while (columns && !cells[columns - 1][strspn(cells[columns - 1], " ")])
		columns--;
	for (size_t i = 0; i < columns; i++) {
		(void)fprintf(out, "%*s%s", pad, "", cells[i]);
		pad = widths[i] - text_width(cells[i]) + COLUMN_GAP;
	}
}

void table_print(const struct table *table, FILE *out, int indent, unsigned int flags)
{
	bool headers = !(flags & TABLE_NO_HEADERS);
	bool bold = flags & TABLE_BOLD_HEADERS;
	int *widths = alloc_zeroed(table->columns, sizeof(*widths));

	for (size_t i = 0; headers && i < table->columns; i++)
		widths[i] = text_width(table->headers[i]);
	for (size_t i = 0, column = 0; i < table->count; i++) {
		int needs = text_width(table->cells[i]);

		widths[column] = needs > widths[column] ? needs : widths[column];
		column = column + 1 < table->columns ? column + 1 : 0;
	}
	if (headers) {
		(void)fputs(bold ? "\033[1m" : "", out);
		line_print(out, indent, table->headers, widths, table->columns);
		(void)fputs(bold ? "\033[0m\n" : "\n", out);
	}
	for (size_t i = 0; i + table->columns <= table->count; i += table->columns) {
		line_print(out, indent, (const char *const *)table->cells + i, widths,
			   table->columns);
		(void)fputc('\n', out);
	}
	free(widths);
}

bool terminal_has_bold(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term &&
	       strcmp(term, "dumb") != 0;
}

void table_print_list(const struct table *table, bool no_headers)
{
	table_print(table, stdout, 0,
		    (no_headers ? TABLE_NO_HEADERS : 0) |
			    (terminal_has_bold() ? TABLE_BOLD_HEADERS : 0));
}

const char *duration_format(uint64_t seconds, char buf[TEXT_SHORT_SIZE])
{
	uint64_t minutes = seconds / 60;
	uint64_t hours = minutes / 60;

	if (seconds < 60)
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%" PRIu64 "s", seconds);
	else if (minutes < 60)
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%" PRIu64 "m%" PRIu64 "s", minutes,
			       seconds % 60);
	else if (hours < 48)
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%" PRIu64 "h%" PRIu64 "m", hours,
			       minutes % 60);
	else
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%" PRIu64 "d%" PRIu64 "h", hours / 24,
			       hours % 24);
	return buf;
}

const char *took_format(uint64_t ns, char buf[TEXT_SHORT_SIZE])
{
	if (ns < 1000000)
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%" PRIu64 " us", ns / 1000);
	else if (ns < 1000000000)
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%.1f ms", (double)ns / 1e6);
	else
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%.1f s", (double)ns / 1e9);
	return buf;
}

const char *bytes_format(uint64_t bytes, char buf[TEXT_SHORT_SIZE])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		(void)snprintf(buf, TEXT_SHORT_SIZE, "%" PRIu64 " B", bytes);
		return buf;
	}
	for (; value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1; unit++)
		value /= 1024;
	(void)snprintf(buf, TEXT_SHORT_SIZE, "%.1f %s", value, units[unit]);
	return buf;
}
