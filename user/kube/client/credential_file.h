/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A file with a token, certificates or a key, which somebody else replaces now and then. */

#include <stdbool.h>

#include "base/file.h"

struct credential_file {
	const char *path; /* borrowed; NULL: there is no such file */
	bool is_token;    /* or else PEM */

	char *text; /* the last that was good, without spaces around it; NULL: none was yet */
	struct file_stamp stamp;
	int err; /* why it was not good when it was last looked at, which was logged */
};

/*
 * Reads it if it is not what was read before; `always` reads it in any case. What cannot be read,
 * is empty or is something else leaves `text` as it was. Logs when that begins and when it ends.
 * Returns true if `text` is another one now.
 */
bool credential_file_look(struct credential_file *file, bool always);

void credential_file_fini(struct credential_file *file);
