# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain tables and verdict lines."""


def table(header, rows):
    """Columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


WORDS = {True: "ok   ", False: "FAIL ", None: "SHORT"}


def verdict_lines(checks):
    """checks: of (passed, what, measured); a line each. None: an aim that is missed and explained."""
    return "\n".join(f"{WORDS[None if passed is None else bool(passed)]} {what}: {measured}"
                     for passed, what, measured in checks)
