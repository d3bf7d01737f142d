// SPDX-License-Identifier: GPL-2.0-or-later
/* maps.bpf.c: creates the maps; holds no program. */
#include "maps.h"

char LICENSE[] SEC("license") = "GPL";
