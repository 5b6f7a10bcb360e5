/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "metrics/metrics.h"
#include "metrics/process_metrics.h"

static int setup(void **state)
{
	*state = metrics_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	metrics_free(*state);
	return 0;
}

static void then_written(struct metrics *metrics, const char *expected)
{
	size_t size;
	char *text = metrics_write(metrics, &size);

	assert_non_null(text);
	assert_string_equal(text, expected);
	assert_int_equal(size, strlen(expected));
	free(text);
}

static void test_a_family_without_labels_is_there_from_the_start(void **state)
{
	static const struct metric_spec spec = {
		.name = "fl_things_total", .help = "Things.", .type = METRIC_COUNTER};
	struct metric *metric = metrics_add(*state, &spec);

	then_written(*state, "# HELP fl_things_total Things.\n"
			     "# TYPE fl_things_total counter\n"
			     "fl_things_total 0\n");
	metric_add(metric, NULL, 2);
	metric_add(metric, NULL, 0.5);
	then_written(*state, "# HELP fl_things_total Things.\n"
			     "# TYPE fl_things_total counter\n"
			     "fl_things_total 2.5\n");
}

static void collect_others(FILE *out, void *context)
{
	(void)context;
	exposition_single(out, "fl_things", METRIC_GAUGE, "Things.", 1);
	exposition_single(out, "fl_others", METRIC_UNTYPED, "Others.", 2);
}

static void test_disabled_families_are_left_out_whoever_writes_them(void **state)
{
	static const double buckets[] = {1};
	static const struct metric_spec histogram = {.name = "fl_seconds",
						     .help = "Seconds.",
						     .type = METRIC_HISTOGRAM,
						     .buckets = buckets,
						     .bucket_count = 1};
	static const struct metric_spec counter = {
		.name = "fl_things_total", .help = "Things.", .type = METRIC_COUNTER};

	assert_non_null(metrics_add(*state, &histogram));
	assert_non_null(metrics_add(*state, &counter));
	assert_int_equal(metrics_add_collector(*state, collect_others, NULL), 0);
	metrics_disable(*state, "fl_seconds,fl_nothing,fl_others");
	then_written(*state, "# HELP fl_things Things.\n"
			     "# TYPE fl_things gauge\n"
			     "fl_things 1\n"
			     "# HELP fl_things_total Things.\n"
			     "# TYPE fl_things_total counter\n"
			     "fl_things_total 0\n");
	metrics_disable(*state, "fl_seconds,fl_things,fl_others,fl_things_total");
	then_written(*state, "");
}

static void test_each_set_of_label_values_is_a_series(void **state)
{
	static const struct metric_spec spec = {.name = "fl_requests_total",
						.help = "Requests.",
						.type = METRIC_COUNTER,
						.labels = {"code", "host"}};
	struct metric *metric = metrics_add(*state, &spec);

	metric_add(metric, (const char *const[]){"200", "a"}, 1);
	metric_add(metric, (const char *const[]){"200", "b"}, 1);
	metric_add(metric, (const char *const[]){"200", "a"}, 1);
	assert_true(metric_value(metric, (const char *const[]){"200", "a"}) == 2);
	then_written(*state, "# HELP fl_requests_total Requests.\n"
			     "# TYPE fl_requests_total counter\n"
			     "fl_requests_total{code=\"200\",host=\"a\"} 2\n"
			     "fl_requests_total{code=\"200\",host=\"b\"} 1\n");
}

static void test_label_values_that_only_together_are_alike_are_kept_apart(void **state)
{
	static const struct metric_spec spec = {
		.name = "fl_x", .help = "X.", .type = METRIC_GAUGE, .labels = {"a", "b"}};
	struct metric *metric = metrics_add(*state, &spec);

	metric_set(metric, (const char *const[]){"ab", "c"}, 1);
	metric_set(metric, (const char *const[]){"a", "bc"}, 2);
	assert_true(metric_value(metric, (const char *const[]){"ab", "c"}) == 1);
	assert_true(metric_value(metric, (const char *const[]){"a", "bc"}) == 2);
}

static void test_label_values_are_escaped(void **state)
{
	static const struct metric_spec spec = {
		.name = "fl_y", .help = "Y.", .type = METRIC_GAUGE, .labels = {"text"}};
	struct metric *metric = metrics_add(*state, &spec);

	metric_set(metric, (const char *const[]){"a \"b\" \\ c\nd"}, -1);
	then_written(*state, "# HELP fl_y Y.\n# TYPE fl_y gauge\n"
			     "fl_y{text=\"a \\\"b\\\" \\\\ c\\nd\"} -1\n");
}

static void test_a_histogram_counts_into_buckets_that_include_their_bound(void **state)
{
	static const double buckets[] = {0.001, 0.25, 1};
	static const struct metric_spec spec = {.name = "fl_seconds",
						.help = "Seconds.",
						.type = METRIC_HISTOGRAM,
						.labels = {"family"},
						.buckets = buckets,
						.bucket_count = 3};
	const char *const labels[] = {"IPv4"};
	struct metric *metric = metrics_add(*state, &spec);

	metric_observe(metric, labels, 0.25);
	metric_observe(metric, labels, 0.5);
	metric_observe(metric, labels, 4);
	then_written(*state, "# HELP fl_seconds Seconds.\n# TYPE fl_seconds histogram\n"
			     "fl_seconds_bucket{family=\"IPv4\",le=\"0.001\"} 0\n"
			     "fl_seconds_bucket{family=\"IPv4\",le=\"0.25\"} 1\n"
			     "fl_seconds_bucket{family=\"IPv4\",le=\"1\"} 2\n"
			     "fl_seconds_bucket{family=\"IPv4\",le=\"+Inf\"} 3\n"
			     "fl_seconds_sum{family=\"IPv4\"} 4.75\n"
			     "fl_seconds_count{family=\"IPv4\"} 3\n");
}

static void test_numbers_are_as_short_as_they_can_be_and_exact(void **state)
{
	static const struct {
		double value;
		const char *text;
	} numbers[] = {
		{0.1, "0.1"},
		{16.384, "16.384"},
		{1777898096.25, "1777898096.25"},
		{0.1 + 0.2, "0.30000000000000004"},
		{9007199254740991.0, "9007199254740991"},
	};
	char buf[32];

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_string_equal(exposition_number(numbers[i].value, buf), numbers[i].text);
}

static void collect(FILE *out, void *context)
{
	exposition_single(out, "fl_now", METRIC_GAUGE, "Now.", *(double *)context);
}

static void test_a_collector_is_asked_at_each_scrape(void **state)
{
	double value = 1;

	assert_int_equal(metrics_add_collector(*state, collect, &value), 0);
	then_written(*state, "# HELP fl_now Now.\n# TYPE fl_now gauge\nfl_now 1\n");
	value = 2;
	then_written(*state, "# HELP fl_now Now.\n# TYPE fl_now gauge\nfl_now 2\n");
}

static void test_a_series_with_endless_labels_is_not_counted(void **state)
{
	static const struct metric_spec spec = {
		.name = "fl_z", .help = "Z.", .type = METRIC_GAUGE, .labels = {"text"}};
	struct metric *metric = metrics_add(*state, &spec);
	char endless[2000];

	memset(endless, 'a', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	metric_set(metric, (const char *const[]){endless}, 1);
	then_written(*state, "# HELP fl_z Z.\n# TYPE fl_z gauge\n");
}

static double written_value(const char *text, const char *name)
{
	char line[128];
	const char *found;

	(void)snprintf(line, sizeof(line), "\n%s ", name);
	found = strstr(text, line);
	assert_non_null(found);
	return strtod(found + strlen(line), NULL);
}

static void test_memory_of_the_process_is_resident_and_its_own(void **state)
{
	char *text;
	size_t size;

	assert_int_equal(metrics_add_collector(*state, process_metrics_collect, NULL), 0);
	text = metrics_write(*state, &size);
	assert_non_null(text);
	assert_true(written_value(text, "process_resident_memory_bytes") > 0);
	assert_true(written_value(text, "fairlead_resident_anonymous_bytes") > 0);
	assert_true(written_value(text, "fairlead_resident_anonymous_bytes") <
		    written_value(text, "process_virtual_memory_bytes"));
	assert_true(written_value(text, "process_start_time_seconds") > 1.5e9);
	assert_true(written_value(text, "process_open_fds") >= 3);
	free(text);
}

int main(void)
{
#define WITH_METRICS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_METRICS(test_a_family_without_labels_is_there_from_the_start),
		WITH_METRICS(test_each_set_of_label_values_is_a_series),
		WITH_METRICS(test_disabled_families_are_left_out_whoever_writes_them),
		WITH_METRICS(test_label_values_that_only_together_are_alike_are_kept_apart),
		WITH_METRICS(test_label_values_are_escaped),
		WITH_METRICS(test_a_histogram_counts_into_buckets_that_include_their_bound),
		WITH_METRICS(test_numbers_are_as_short_as_they_can_be_and_exact),
		WITH_METRICS(test_a_collector_is_asked_at_each_scrape),
		WITH_METRICS(test_a_series_with_endless_labels_is_not_counted),
		WITH_METRICS(test_memory_of_the_process_is_resident_and_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
