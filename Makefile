# SPDX-License-Identifier: GPL-2.0-or-later
# One Makefile, plain make. See README.md for the variables.
