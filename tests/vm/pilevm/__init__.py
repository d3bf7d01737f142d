# SPDX-License-Identifier: GPL-2.0-or-later
"""The test machine of pileguard: image, machine, load, probes, scenarios."""
