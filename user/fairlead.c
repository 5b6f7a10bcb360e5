/* SPDX-License-Identifier: BSD-2-Clause */

/* The program: selects the subcommand, which parses the rest of the command line itself. */

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/text.h"
#include "cli/cli.h"

/* An unknown word that differs from a subcommand by at most so many letters counts as a typo. */
#define TYPING_ERRORS_MAX 2
#define WORD_SIZE_MAX     16

struct subcommand {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
};

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);

static const struct subcommand subcommands[] = {
	{"agent", "make Services work on this node, and follow changes", agent_main},
	{"services", "Services: frontends, policy, backends, why one is not programmed",
	 services_main},
	{"backends", "where traffic goes: state, Services, flows", backends_main},
	{"flows", "connections through TC: their state, and where they go", flows_main},
	{"affinity", "which client is bound to which backend", affinity_main},
	{"links", "network links: role, hook and why", links_main},
	{"explain", "what happens to a packet, and why", explain_main},
	{"status", "one screen: do Services work, hooks, maps, last publish", status_main},
	{"cleanup", "remove everything of fairlead from this node", cleanup_main},
	{"completion", "print the completion script for bash", completion_main},
	{"version", "print the version", version_main},
	{"help", "this list, or the help of a subcommand", help_main},
};

#define SUBCOMMAND_COUNT (sizeof(subcommands) / sizeof(subcommands[0]))

static const struct subcommand *subcommand_find(const char *name)
{
	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++) {
		if (!strcmp(subcommands[i].name, name))
			return &subcommands[i];
	}
	return NULL;
}

static const struct subcommand *subcommand_guess(const char *name)
{
	const struct subcommand *best = NULL;
	unsigned int best_distance = TYPING_ERRORS_MAX + 1;

	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++) {
		const char *candidate = subcommands[i].name;
		unsigned int distance = text_distance(name, candidate);

		if (*name && !strncmp(name, candidate, strlen(name)))
			distance = 1;
		if (distance < best_distance) {
			best = &subcommands[i];
			best_distance = distance;
		}
	}
	return best;
}

static int subcommand_unknown(const char *name)
{
	const struct subcommand *guess = subcommand_guess(name);

	if (guess)
		complain("there is no subcommand `%s`; did you mean `fairlead %s`?", name,
			 guess->name);
	else
		complain("there is no subcommand `%s`; `fairlead help` lists them", name);
	return EXIT_STATUS_USAGE;
}

static void help_print(FILE *out)
{
	(void)fputs("Usage: fairlead SUBCOMMAND [OPTION...]\n"
		    "Makes Kubernetes Services work on this node with eBPF.\n\n"
		    "Subcommands:\n",
		    out);
	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
		(void)fprintf(out, "  %-11s %s\n", subcommands[i].name, subcommands[i].summary);
	(void)fputs("\nExamples:\n"
		    "  fairlead agent --kubeconfig /etc/fairlead/kubeconfig\n"
		    "  fairlead agent --manifests /etc/fairlead/manifests\n"
		    "  fairlead services shop/web\n"
		    "  fairlead status -o json\n"
		    "  fairlead help agent\n"
		    "\nSubcommands that inspect read the pinned maps: they need no running agent.\n"
		    "`fairlead SUBCOMMAND --help` has options, examples and exit codes; see also "
		    "fairlead(8).\n",
		    out);
}

/* Messages and the usage line name the program as "fairlead services", the way it was called. */
static int subcommand_run(const struct subcommand *subcommand, int argc, char **argv)
{
	char program[sizeof("fairlead ") + WORD_SIZE_MAX];

	(void)snprintf(program, sizeof(program), "fairlead %s", subcommand->name);
	argv[0] = program;
	return subcommand->run(argc, argv);
}

static int help_main(int argc, char **argv)
{
	const struct subcommand *subcommand;
	char help[] = "--help";
	char *args[] = {NULL, help, NULL};

	if (argc < 2 || !strcmp(argv[1], "help") || argv[1][0] == '-') {
		help_print(stdout);
		return EXIT_STATUS_OK;
	}
	subcommand = subcommand_find(argv[1]);
	if (!subcommand)
		return subcommand_unknown(argv[1]);
	return subcommand_run(subcommand, 2, args);
}

static int version_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	(void)puts("fairlead " FAIRLEAD_VERSION);
	return EXIT_STATUS_OK;
}

/* Lost output, on a full disk for instance, is a failure. */
static int output_finish(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	complain("the output could not be written");
	return status ? status : EXIT_STATUS_NO_DATAPATH;
}

/*
 * Opens closed standard descriptors: the next file to be opened would get such a number, and then
 * receive the messages.
 */
static void standard_files_open(void)
{
	while (true) {
		int fd = open("/dev/null", O_RDONLY);

		if (fd > STDERR_FILENO)
			(void)close(fd);
		if (fd < 0 || fd > STDERR_FILENO)
			return;
	}
}

int main(int argc, char **argv)
{
	const struct subcommand *subcommand;

	standard_files_open();

	if (argc < 2) {
		help_print(stderr);
		return EXIT_STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "-?"))
		return output_finish(help_main(1, argv));
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
		return output_finish(version_main(1, argv));
	subcommand = subcommand_find(argv[1]);
	if (!subcommand)
		return subcommand_unknown(argv[1]);
	return output_finish(subcommand_run(subcommand, argc - 1, argv + 1));
}
