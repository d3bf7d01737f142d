/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * macro.h: cleanup attributes and small macros that every room uses.
 * Owns nothing; callable from any thread; never blocks; never logs.
 * Every descriptor is -1 and every pointer NULL before the first thing that can fail.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CLAMP(x, lo, hi) MIN(MAX(x, lo), hi)

#define NS_PER_SEC 1000000000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_US 1000ULL

static inline void pile_macro_freep(void *p)
{
	free(*(void **)p);
}

static inline void pile_macro_closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void pile_macro_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(pile_macro_freep)
#define _cleanup_close_ _cleanup_(pile_macro_closep)
#define _cleanup_fclose_ _cleanup_(pile_macro_fclosep)
#define _printf_(f, a) __attribute__((format(printf, f, a)))

#define TAKE_PTR(p)                    \
	({                             \
		typeof(p) *_pp = &(p); \
		typeof(p) _v = *_pp;   \
		*_pp = NULL;           \
		_v;                    \
	})
#define TAKE_FD(fd)               \
	({                        \
		int *_pf = &(fd); \
		int _v = *_pf;    \
		*_pf = -1;        \
		_v;               \
	})
