#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_rules.py: the hard rules (include/pileguard/rules.h) say the same in the kernel as on the host, input by input."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guardlib import BUILD  # pylint: disable=wrong-import-position


class Rules(unittest.TestCase):
    def test_the_same_on_both_sides(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        run = subprocess.run([f"{BUILD}/tests/rules_compare", f"{BUILD}/tests/rules.bpf.o"], capture_output=True, text=True,
                             check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main()
