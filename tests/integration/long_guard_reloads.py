#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""long_guard_reloads.py: test_guard_reloads.py ten thousand times (check-long: some twenty minutes)."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import test_guard_reloads as short
from guardlib import figures_print


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class TenThousand(short.Reloads):
    RELOADS = int(os.environ.get("PILE_RELOADS", "10000"))
    WARM = 300
    SLACK_KIB = 512     # other services of this host come and go in the twenty minutes, each with a place in the tables


if __name__ == "__main__":
    unittest.main(verbosity=2)
