/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* `fairlead agent`: parses its own options and returns the process's exit code. */
int agent_main(int argc, char **argv);
