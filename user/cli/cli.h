/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The subcommands besides `agent`. Those that show state only read the pinned maps, so they work
 * without a running agent and change nothing. Each returns the process's exit code, an enum
 * exit_status.
 */

enum exit_status {
	EXIT_STATUS_OK = 0,
	EXIT_STATUS_NOT_FOUND = 1, /* nothing matches the filter */
	EXIT_STATUS_DEGRADED = 1,  /* `status` only: DEGRADED or DOWN */
	EXIT_STATUS_NOT_CLEAN = 1, /* `cleanup` only: something that was to be removed is left */
	EXIT_STATUS_USAGE = 2,
	EXIT_STATUS_NO_DATAPATH = 3, /* the maps do not exist or cannot be read */
};

/* Prints an error on standard error, for the operator who typed the command: "fairlead: ...". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

int services_main(int argc, char **argv);
int backends_main(int argc, char **argv);
int flows_main(int argc, char **argv);
int affinity_main(int argc, char **argv);
int links_main(int argc, char **argv);
int explain_main(int argc, char **argv);
int status_main(int argc, char **argv);
int cleanup_main(int argc, char **argv);
int completion_main(int argc, char **argv);
