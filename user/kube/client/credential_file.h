/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A file with a token, certificates or a key, which another program replaces from time to time. */

#include <stdbool.h>

#include "base/file.h"

struct credential_file {
	const char *path; /* borrowed; NULL: there is no such file */
	bool is_token;    /* else PEM */

	char *text; /* the last valid content, trimmed; NULL: none yet */
	struct file_stamp stamp;
	int err; /* why the last read failed, which was logged; 0: it did not */
};

/*
 * Reads the file if it has changed since the last read, or in any case with `always`. If it cannot
 * be read, is empty or is invalid, `text` stays. Logs when such a failure begins and when it ends.
 * Returns true if `text` has changed.
 */
bool credential_file_refresh(struct credential_file *file, bool always);

void credential_file_fini(struct credential_file *file);
