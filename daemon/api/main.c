// SPDX-License-Identifier: GPL-2.0-or-later
/* main.c: the program pileguard-api; started by the guard with three descriptors, never by hand. */
#include <fcntl.h>
#include <stdio.h>

#include "api/api.h"
#include "pileguard/api.h"

int main(void)
{
	if (fcntl(PILE_API_FD_COMMAND, F_GETFD) < 0) {
		fputs("pileguard-api: pileguardd starts this; there is nothing to do by hand\n",
		      stderr);
		return PILE_EXIT_USAGE;
	}
	return pile_api_main(true);
}
