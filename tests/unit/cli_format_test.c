/* SPDX-License-Identifier: BSD-2-Clause */

/* What the command line makes of text and numbers: tables, durations, filters, sentences. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "cli/arguments.h"
#include "base/text.h"
#include "base/cleanup.h"
#include "cli/table.h"
#include "words/words.h"

static void then_prints(const struct table *table, int indent, unsigned int flags,
			const char *expected)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	table_print(table, out, indent, flags);
	(void)fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static struct table *given_table(void)
{
	static const char *const headers[] = {"NAME", "COUNT", "WHY", NULL};
	struct table *table = table_new(headers);

	table_cell(table, "%s", "a-long-name");
	table_cell(table, "%d", 7);
	table_cell(table, "%s", "");
	table_cell(table, "%s", "b");
	table_cell(table, "%d", 123456);
	table_cell(table, "%s", "because it is so");
	return table;
}

static void a_table_aligns_its_columns_and_ends_no_line_with_spaces(void **state)
{
	auto_cleanup(table_freep) struct table *table = given_table();

	(void)state;
	assert_int_equal(table_rows(table), 2);
	then_prints(table, 0, 0,
		    "NAME         COUNT   WHY\n"
		    "a-long-name  7       -\n"
		    "b            123456  because it is so\n");
}

static void a_table_without_headers_is_as_narrow_as_its_cells(void **state)
{
	auto_cleanup(table_freep) struct table *table = given_table();

	(void)state;
	then_prints(table, 2, TABLE_NO_HEADERS,
		    "  a-long-name  7       -\n"
		    "  b            123456  because it is so\n");
}

static void bold_is_switched_off_at_the_end_of_the_headers(void **state)
{
	static const char *const headers[] = {"NAME", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	(void)state;
	then_prints(table, 0, TABLE_BOLD_HEADERS, "\033[1mNAME\033[0m\n");
}

static void letters_of_several_bytes_take_one_column(void **state)
{
	static const char *const headers[] = {"NAME", "N", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	(void)state;
	table_cell(table, "%s", "tr\xc3\xa4ger");
	table_cell(table, "1");
	table_cell(table, "%s", "links");
	table_cell(table, "2");
	then_prints(table, 0, TABLE_NO_HEADERS, "tr\xc3\xa4ger  1\nlinks   2\n");
}

static void what_a_terminal_would_obey_is_made_harmless(void **state)
{
	static const struct {
		const char *given;
		const char *expected;
	} cases[] = {
		{"eth0", "eth0"},
		{"\033[31mred", "?[31mred"},
		{"bell\a\177", "bell??"},
		{"tr\xc3\xa4ger", "tr\xc3\xa4ger"},
		{"cut\xc3", "cut?"},
		{"\xff\xfe", "??"},
		{"\xc2\x9b"
		 "31m",
		 "??31m"},
		{"overlong \xe0\x80\x80", "overlong ???"},
		{"overlong \xf0\x80\x80\x80", "overlong ????"},
		{"surrogate \xed\xa0\x80", "surrogate ???"},
		{"too large \xf4\x90\x80\x80", "too large ????"},
		{"\xed\x9f\xbf\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xf4\x8f\xbf\xbf"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "%s", cases[i].given);
		text_make_printable(text);
		assert_string_equal(text, cases[i].expected);
	}
}

static void durations_and_sizes_have_the_unit_that_fits(void **state)
{
	char text[TEXT_SHORT_SIZE];

	(void)state;
	assert_string_equal(duration_format(0, text), "0s");
	assert_string_equal(duration_format(59, text), "59s");
	assert_string_equal(duration_format(125, text), "2m5s");
	assert_string_equal(duration_format(12000, text), "3h20m");
	assert_string_equal(duration_format(324000, text), "3d18h");
	assert_string_equal(took_format(250400, text), "250 us");
	assert_string_equal(took_format(3240000, text), "3.2 ms");
	assert_string_equal(took_format(1500000000, text), "1.5 s");
	assert_string_equal(bytes_format(512, text), "512 B");
	assert_string_equal(bytes_format(4096, text), "4.0 KiB");
	assert_string_equal(bytes_format(14889779, text), "14.2 MiB");
	assert_string_equal(bytes_format(UINT64_MAX, text), "16777216.0 TiB");
}

static void then_address(const char *text, const char *addr, unsigned int port)
{
	struct selection selection = {0};
	struct ip_addr expected;

	assert_int_equal(selection_parse_address(&selection, text), 0);
	assert_int_equal(address_parse(addr, &expected), 0);
	assert_true(address_equal(&selection.address, &expected));
	assert_int_equal(ntohs(selection.port), port);
}

static void an_address_filter_has_a_port_or_not_in_both_families(void **state)
{
	static const char *const wrong[] = {
		"",
		"10.0.0",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"10.0.0.1:80x",
		"[fd00::1",
		"[fd00::1]80",
		"[fd00::1]:",
		"fd00::g",
		"10.0.0.1:-1",
		"10.0.0.1: 1",
		"[10.0.0.1]:80]:",
		"name",
	};

	(void)state;
	then_address("10.96.0.10", "10.96.0.10", 0);
	then_address("10.96.0.10:53", "10.96.0.10", 53);
	then_address("fd00::1", "fd00::1", 0);
	then_address("[fd00::1]", "fd00::1", 0);
	then_address("[fd00::1]:65535", "fd00::1", 65535);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct selection selection = {0};

		assert_int_equal(selection_parse_address(&selection, wrong[i]), -EINVAL);
	}
}

static void a_name_filter_selects_by_namespace_and_name(void **state)
{
	struct selection both = {0};
	struct selection name = {0};
	struct selection glob = {0};
	struct selection none = {0};

	(void)state;
	assert_int_equal(selection_parse_name(&both, "shop/web"), 0);
	assert_true(selection_has_service(&both, "shop", "web"));
	assert_false(selection_has_service(&both, "shop", "webs"));
	assert_false(selection_has_service(&both, "shops", "web"));

	assert_int_equal(selection_parse_name(&name, "web"), 0);
	assert_true(selection_has_service(&name, "any", "web"));

	assert_int_equal(selection_parse_name(&glob, "kube-*/*"), 0);
	assert_true(selection_has_service(&glob, "kube-system", "kube-dns"));
	assert_false(selection_has_service(&glob, "shop", "web"));

	assert_true(selection_is_empty(&none));
	assert_true(selection_has_service(&none, "shop", "web"));
}

static void a_name_filter_that_is_none_is_refused(void **state)
{
	static const char *const wrong[] = {"", "/", "shop/", "/web", "a/b/c"};
	struct selection other = {.namespace_ = "kube-system"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct selection selection = {0};

		assert_int_equal(selection_parse_name(&selection, wrong[i]), -EINVAL);
	}
	assert_int_equal(selection_parse_name(&other, "shop/web"), -EINVAL);
}

static void then_sentence(enum unprogrammed_reason reason, const char *detail, const char *expected)
{
	struct unprogrammed value = {.reason = reason};
	char text[SENTENCE_SIZE];

	(void)strncpy(value.detail, detail, sizeof(value.detail) - 1);
	assert_string_equal(unprogrammed_sentence(&value, text), expected);
}

static void each_reason_not_to_program_has_its_sentence(void **state)
{
	(void)state;
	then_sentence(UNPROGRAMMED_HEADLESS, "", "headless: nothing to program");
	then_sentence(UNPROGRAMMED_EXTERNAL_NAME, "",
		      "ExternalName: nothing to program, DNS answers for it");
	then_sentence(UNPROGRAMMED_NO_CLUSTER_IP, "",
		      "the API server has not given it a ClusterIP");
	then_sentence(UNPROGRAMMED_NO_CLUSTER_IP, "write one", "it has no clusterIP: write one");
	then_sentence(UNPROGRAMMED_OTHER_PROXY, "other",
		      "label service.kubernetes.io/service-proxy-name=other: another proxy's");
	then_sentence(UNPROGRAMMED_LOCAL_ADDRESS, "nodelocaldns",
		      "its address is assigned to link nodelocaldns: left alone");
	then_sentence(UNPROGRAMMED_MAP_FULL, "map slots is full: raise --max-slots",
		      "no room: map slots is full: raise --max-slots");
	then_sentence(UNPROGRAMMED_PROTOCOL, "SCTP", "its protocol SCTP is not served");
	then_sentence(UNPROGRAMMED_PROTOCOL, "", "its protocol is not served");
	then_sentence(UNPROGRAMMED_NO_PORTS, "", "it has no ports");
	then_sentence(UNPROGRAMMED_TAKEN, "203.0.113.80:80/TCP by shop/web, and 2 more",
		      "taken: 203.0.113.80:80/TCP by shop/web, and 2 more");
	then_sentence((enum unprogrammed_reason)77, "",
		      "not programmed, for reason 77 that this version of fairlead does not know");
}

static void a_detail_without_a_terminator_is_cut_at_its_end(void **state)
{
	struct unprogrammed value = {.reason = UNPROGRAMMED_MAP_FULL};
	char text[SENTENCE_SIZE];

	(void)state;
	memset(value.detail, 'x', sizeof(value.detail));
	assert_int_equal(strlen(unprogrammed_sentence(&value, text)),
			 strlen("no room: ") + sizeof(value.detail));
}

static void numbers_from_a_newer_version_are_unknown_not_a_crash(void **state)
{
	(void)state;
	assert_string_equal(service_type_word(200), "unknown");
	assert_string_equal(backend_state_word(200, 0), "unknown");
	assert_string_equal(flow_state_word(200), "unknown");
	assert_string_equal(link_role_word(200), "unknown");
	assert_string_equal(link_hook_word(200), "unknown");
	assert_string_equal(unprogrammed_word(0), "unknown");
	assert_string_equal(unprogrammed_word(UINT32_MAX), "unknown");
	assert_string_equal(counter_word(COUNTER_COUNT), "unknown");
}

/* Scripts know a counter by its name, dumps of the map by its field. */
static void a_counter_has_the_same_name_everywhere(void **state)
{
	static const char *const fields[] = {
#define X(reason, field, name, sentence) #field,
		FAIRLEAD_COUNTERS(X)
#undef X
	};

	(void)state;
	for (__u32 reason = 0; reason < COUNTER_COUNT; reason++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "%s", fields[reason]);
		for (char *dash = strchr(name, '_'); dash; dash = strchr(dash, '_'))
			*dash = '-';
		assert_string_equal(counter_word(reason), name);
	}
}

static void an_empty_list_says_what_its_clients_meet(void **state)
{
	struct service service = {.flags = SERVICE_IN_USE};

	(void)state;
	service.cluster_slots.first = EMPTY_REJECT;
	assert_int_equal(service_verdict(&service), VERDICT_REFUSE);
	service.cluster_slots.count = 1;
	assert_int_equal(service_verdict(&service), VERDICT_PROGRAMMED);
	service.flags |= SERVICE_INTERNAL_LOCAL;
	service.local_slots.first = EMPTY_DROP;
	assert_int_equal(service_verdict(&service), VERDICT_DROP);
}

static void every_degraded_bit_has_a_word_of_its_own(void **state)
{
	__u32 seen = 0;

	(void)state;
	for (const struct degraded_words *words = degraded_words; words->bit; words++) {
		assert_int_equal(seen & words->bit, 0);
		assert_int_equal(words->bit & (words->bit - 1), 0);
		seen |= words->bit;
	}
	/* Bits are given out from 0 upwards: no gap, so none was forgotten. */
	assert_int_equal(seen & (seen + 1), 0);
	assert_true(seen >= DEGRADED_LINK_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_aligns_its_columns_and_ends_no_line_with_spaces),
		cmocka_unit_test(a_table_without_headers_is_as_narrow_as_its_cells),
		cmocka_unit_test(bold_is_switched_off_at_the_end_of_the_headers),
		cmocka_unit_test(letters_of_several_bytes_take_one_column),
		cmocka_unit_test(what_a_terminal_would_obey_is_made_harmless),
		cmocka_unit_test(durations_and_sizes_have_the_unit_that_fits),
		cmocka_unit_test(an_address_filter_has_a_port_or_not_in_both_families),
		cmocka_unit_test(a_name_filter_selects_by_namespace_and_name),
		cmocka_unit_test(a_name_filter_that_is_none_is_refused),
		cmocka_unit_test(each_reason_not_to_program_has_its_sentence),
		cmocka_unit_test(a_detail_without_a_terminator_is_cut_at_its_end),
		cmocka_unit_test(numbers_from_a_newer_version_are_unknown_not_a_crash),
		cmocka_unit_test(a_counter_has_the_same_name_everywhere),
		cmocka_unit_test(an_empty_list_says_what_its_clients_meet),
		cmocka_unit_test(every_degraded_bit_has_a_word_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
