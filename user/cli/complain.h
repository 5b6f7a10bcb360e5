/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Prints an error on standard error, for the operator who typed the command: "fairlead: ...". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
