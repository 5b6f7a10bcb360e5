/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/process_metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "metrics/exposition.h"

static size_t descriptors_count(void)
{
	auto_cleanup(cleanup_dir) DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	while (dir && readdir(dir))
		count++;
	/* Not counting ".", ".." and the descriptor opened for counting. */
	return count > 3 ? count - 3 : 0;
}

static void stat_collect(FILE *out)
{
	auto_cleanup(cleanup_file) FILE *file = fopen("/proc/self/stat", "re");
	uint64_t user, system, start, virtual_size;
	const double ticks = (double)sysconf(_SC_CLK_TCK);
	int64_t pages;
	char line[1024];
	const char *rest;

	/* Parse from the end of the program's name, which may hold any character. */
	if (!file || !fgets(line, sizeof(line), file) || !(rest = strrchr(line, ')')) ||
	    sscanf(rest,
		   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
		   " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNd64,
		   &user, &system, &start, &virtual_size, &pages) != 5)
		return;
	exposition_single(out, "process_cpu_seconds_total", METRIC_COUNTER,
			  "CPU time of the agent, user and system, in seconds.",
			  (double)(user + system) / ticks);
	exposition_single(out, "process_resident_memory_bytes", METRIC_GAUGE,
			  "Resident memory of the agent.",
			  (double)pages * (double)sysconf(_SC_PAGESIZE));
	exposition_single(out, "process_virtual_memory_bytes", METRIC_GAUGE,
			  "Virtual memory of the agent.", (double)virtual_size);
	exposition_single(out, "process_start_time_seconds", METRIC_GAUGE,
			  "When the agent was started, in seconds since 1970.",
			  (double)file_number("/proc/stat", "btime") + (double)start / ticks);
}

static double limit_value(rlim_t limit)
{
	return limit == RLIM_INFINITY ? -1 : (double)limit;
}

void process_metrics_collect(FILE *out, void *unused)
{
	struct rlimit limit;

	(void)unused;
	stat_collect(out);
	exposition_single(out, "fairlead_resident_anonymous_bytes", METRIC_GAUGE,
			  "Resident memory of the agent that is its own: not the maps, files and "
			  "libraries that it has mapped.",
			  (double)file_number("/proc/self/status", "RssAnon:") * 1024);
	exposition_single(out, "process_open_fds", METRIC_GAUGE, "Open file descriptors.",
			  (double)descriptors_count());
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		exposition_single(out, "process_max_fds", METRIC_GAUGE,
				  "How many file descriptors may be open.",
				  limit_value(limit.rlim_cur));
	if (!getrlimit(RLIMIT_AS, &limit))
		exposition_single(out, "process_virtual_memory_max_bytes", METRIC_GAUGE,
				  "Limit of virtual memory; -1: none.",
				  limit_value(limit.rlim_cur));
}
