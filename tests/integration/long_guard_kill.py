#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""long_guard_kill.py: test_guard_kill.py at a thousand instants, and ten deaths in a minute (check-long)."""
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import test_guard_kill as short
from guardlib import figures_print


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Thousand(short.Killed):
    KILLS = int(os.environ.get("PILE_KILLS", "1000"))
    SEED = int(os.environ.get("PILE_SEED", "2"))
    ANY = 2.5


class TenInAMinute(short.Restarts):
    DEATHS = 10
    EVERY_S = 6


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    unittest.main(verbosity=2)
