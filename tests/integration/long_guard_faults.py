#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""long_guard_faults.py: test_guard_faults.py with every single call, and descriptors and reads beside what it has (check-long)."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import test_guard_faults as short
from guardlib import figures_print


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Every:
    KINDS = short.KINDS | {"descriptor"}
    DEPTH = 4
    EACH = True


class EveryStart(Every, short.Start):
    pass


class EveryReload(Every, short.Reload):
    pass


class EveryAct(Every, short.Act):
    EACH = False    # a tick makes the same calls again and again


class EveryStop(Every, short.Stop):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
