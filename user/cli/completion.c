/* SPDX-License-Identifier: BSD-2-Clause */
#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/cli.h"

/* The script asks the program itself for subcommands and options, so it never gets outdated. */
static const char bash_script[] =
	"_fairlead()\n"
	"{\n"
	"\tlocal word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words\n"
	"\n"
	"\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	"\t\twords=$(fairlead help | sed -n 's/^  \\([a-z]*\\) .*/\\1/p')\n"
	"\telif [ \"${COMP_WORDS[COMP_CWORD-1]}\" = -o ]; then\n"
	"\t\twords='text json'\n"
	"\telif [ \"${word#-}\" != \"$word\" ]; then\n"
	"\t\twords=$(fairlead \"$command\" --help | grep -o -e '--[a-z][a-z-]*' | sort -u)\n"
	"\telse\n"
	"\t\tcase $command in\n"
	"\t\tservices | backends | flows | affinity)\n"
	"\t\t\twords=$(fairlead services --no-headers 2>/dev/null | awk '{print $1}' | sort -u) "
	";;\n"
	"\t\tlinks)\n"
	"\t\t\twords=$(fairlead links --no-headers 2>/dev/null | awk '{print $2}') ;;\n"
	"\t\thelp)\n"
	"\t\t\twords=$(fairlead help | sed -n 's/^  \\([a-z]*\\) .*/\\1/p') ;;\n"
	"\t\tcompletion)\n"
	"\t\t\twords=bash ;;\n"
	"\t\tesac\n"
	"\tfi\n"
	"\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
	"}\n"
	"complete -o default -F _fairlead fairlead\n";

static error_t completion_parse(int key, char *arg, struct argp_state *state)
{
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	if (strcmp(arg, "bash") != 0 || state->arg_num)
		argp_error(state, "the only shell known is `bash`");
	return 0;
}

static const struct argp completion_argp = {
	.parser = completion_parse,
	.args_doc = "[bash]",
	.doc = "Prints the script that completes subcommands, options and names in bash.\v"
	       "EXAMPLES\n"
	       "  fairlead completion > /etc/bash_completion.d/fairlead\n"
	       "  source <(fairlead completion)",
};

int completion_main(int argc, char **argv)
{
	struct arguments arguments;

	arguments_parse(&completion_argp, argc, argv, &arguments);
	(void)fputs(bash_script, stdout);
	return EXIT_STATUS_OK;
}
