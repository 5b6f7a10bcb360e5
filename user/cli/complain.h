/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Says on standard error what went wrong, for the person who typed the command: "fairlead: ...". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
