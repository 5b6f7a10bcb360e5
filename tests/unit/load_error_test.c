/* SPDX-License-Identifier: BSD-2-Clause */

/* What an operator reads where a kernel refuses to load programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "datapath/load_error.h"

static void note(enum libbpf_print_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void note(enum libbpf_print_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	assert_int_equal(load_error_keep(level, format, args), 0);
	va_end(args);
}

/* As libbpf says it of a program that the verifier refuses. */
static void note_verifier(const char *program, const char *log)
{
	note(LIBBPF_WARN, "libbpf: prog '%s': BPF program load failed: Permission denied\n",
	     program);
	note(LIBBPF_WARN,
	     "libbpf: prog '%s': -- BEGIN PROG LOAD LOG --\n%s"
	     "processed 639 insns (limit 1000000) max_states_per_insn 2\n"
	     "-- END PROG LOAD LOG --\n",
	     program, log);
	note(LIBBPF_WARN, "libbpf: failed to load object 'tc_bpf'\n");
}

/* What load_error_log writes. */
static void written_by_log(int err, char *ret_text, size_t size)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	size_t length;

	assert_non_null(file);
	assert_int_equal(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(load_error_log(err, "the TC programs"), err);
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	rewind(file);
	length = fread(ret_text, 1, size - 1, file);
	ret_text[length] = '\0';
	(void)fclose(file);
}

static void then_says(int err, const char *const *expected, size_t count)
{
	char text[8192];

	written_by_log(err, text, sizeof(text));
	for (size_t i = 0; i < count; i++) {
		if (!strstr(text, expected[i]))
			fail_msg("\"%s\" is missing in:\n%s", expected[i], text);
	}
}

#define then_says(err, ...)                                \
	then_says(err, (const char *const[]){__VA_ARGS__}, \
		  sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void then_is_silent_about(int err, const char *text)
{
	char written[8192];

	written_by_log(err, written, sizeof(written));
	if (strstr(written, text))
		fail_msg("\"%s\" should not be in:\n%s", text, written);
}

static int setup(void **state)
{
	(void)state;
	load_error_reset();
	return 0;
}

static void the_verifiers_last_lines_are_said_with_the_kernel_and_what_to_do(void **state)
{
	struct utsname system;

	(void)state;
	assert_int_equal(uname(&system), 0);
	note_verifier("fl_ingress",
		      "1: r1\n2: r2\n3: r3\n4: r4\nR2 type=mem expected=fp, map_key\n");

	then_says(-EACCES, system.release, "prog 'fl_ingress'", "verifier: 2: r2",
		  "verifier: 4: r4", "verifier: R2 type=mem expected=fp, map_key",
		  "Linux 5.15 and newer", "nothing was changed");
	then_is_silent_about(-EACCES, "verifier: 1: r1");
	then_is_silent_about(-EACCES, "processed 639");
	then_is_silent_about(-EACCES, "CAP_BPF");
}

static void the_log_of_the_last_attempt_counts(void **state)
{
	(void)state;
	note_verifier("fl_ingress", "invalid func unknown#160\n");
	note_verifier("fl_ingress", "combined stack size of 6 calls is 544. Too large\n");

	then_says(-EACCES, "Too large");
	then_is_silent_about(-EACCES, "unknown#160");
}

static void missing_rights_are_called_that(void **state)
{
	(void)state;
	note(LIBBPF_WARN,
	     "libbpf: Error in bpf_object__probe_loading():Operation not permitted(1). "
	     "Couldn't load trivial BPF program.\n");

	then_says(-EPERM, "trivial BPF program", "run as root", "CAP_BPF");
	then_is_silent_about(-EPERM, "verifier");
}

static void other_errors_name_what_libbpf_complained_of(void **state)
{
	(void)state;
	note(LIBBPF_INFO, "libbpf: loading tc_bpf\n");
	note(LIBBPF_WARN, "libbpf: map 'flows': failed to create: Cannot allocate memory(-12)\n");
	note(LIBBPF_WARN, "libbpf: failed to load object 'tc_bpf'\n");

	then_says(-ENOMEM, "map 'flows'", "Cannot allocate memory");
	then_is_silent_about(-ENOMEM, "failed to load object");
	assert_non_null(strstr(load_error_text(), "map 'flows'"));
}

static void an_attempt_begins_with_nothing(void **state)
{
	(void)state;
	note_verifier("fl_ingress", "R2 type=mem\n");
	load_error_reset();

	assert_string_equal(load_error_text(), "");
	then_is_silent_about(-EACCES, "R2 type=mem");
}

static void an_empty_log_or_one_that_is_cut_off_does_no_harm(void **state)
{
	(void)state;
	note_verifier("fl_ingress", "");
	note(LIBBPF_WARN, "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --");
	note(LIBBPF_WARN,
	     "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n\n\nlast line without its end");

	then_says(-EACCES, "verifier: last line without its end");
}

static void without_memory_the_map_and_the_remedy_are_named(void **state)
{
	(void)state;
	load_error_reset();
	note(LIBBPF_WARN, "libbpf: Error in bpf_create_map_xattr(slots): Cannot allocate "
			  "memory(-12). Retrying without BTF.\n");
	note(LIBBPF_WARN, "libbpf: map 'slots': failed to create: Cannot allocate memory(-12)\n");
	then_says(-ENOMEM, "there is no memory for the TC programs",
		  "(libbpf: map 'slots': failed to create: Cannot allocate memory(-12))",
		  "raise the limit of the agent's cgroup");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			the_verifiers_last_lines_are_said_with_the_kernel_and_what_to_do, setup),
		cmocka_unit_test_setup(the_log_of_the_last_attempt_counts, setup),
		cmocka_unit_test_setup(missing_rights_are_called_that, setup),
		cmocka_unit_test_setup(other_errors_name_what_libbpf_complained_of, setup),
		cmocka_unit_test_setup(without_memory_the_map_and_the_remedy_are_named, setup),
		cmocka_unit_test_setup(an_attempt_begins_with_nothing, setup),
		cmocka_unit_test_setup(an_empty_log_or_one_that_is_cut_off_does_no_harm, setup),
	};

	return cmocka_run_group_tests_name("load errors", tests, NULL, NULL);
}
