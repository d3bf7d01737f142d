# SPDX-License-Identifier: GPL-2.0-or-later
"""What was found on the kernels, as documents: expected.tsv, docs/KERNELS.md, the README's table."""
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
EXPECTED = HERE / "expected.tsv"
PAGE = TREE / "docs/KERNELS.md"
README = TREE / "README.md"
BEGIN, END = "<!-- make check-kernels writes this table -->", "<!-- end of it -->"
NAMES = {"6.1": "Debian 12's", "6.12": "Debian 12 backports', Debian 13's", "7.x": "Debian unstable's", "host": "development host"}
FACTS = ("tier", "loop", "attach rung 1", "attach deadline")


def verdicts_of(found):
    """name -> verdict: each program, and what the guard says of the whole."""
    verdicts = found["verdicts"]
    return {**{f"{p['object']}/{p['program']}": p["verdict"] for p in verdicts["programs"]},
            **{fact: verdicts["said"][fact] for fact in FACTS if fact in verdicts["said"]}}


def expected_read():
    """label -> name -> verdict."""
    expected = {}
    for line in EXPECTED.read_text().splitlines() if EXPECTED.exists() else ():
        if line and not line.startswith("#"):
            label, name, verdict = line.split("\t")
            expected.setdefault(label, {})[name] = verdict
    return expected


def expected_write(found):
    lines = ["# part, program or fact, verdict: what tests/kernels/run compares with; written by tests/kernels/run --write"]
    for label, one in found.items():
        lines += [f"{label}\t{name}\t{verdict}" for name, verdict in sorted(verdicts_of(one).items())]
    EXPECTED.write_text("\n".join(lines) + "\n")


def row(cells):
    return "| " + " | ".join(cells) + " |"


def support(found):
    """The README's table: a line a kernel."""
    lines = [row(("kernel", "tier", "rung 1, deadline, loop", "missing there")), row(("---",) * 4)]
    for label in NAMES:
        if label not in found:
            continue
        one = found[label]
        said = one["verdicts"]["said"]
        effects = [e["passed"] for e in one["effects"]]
        works = "yes" if said.get("attach rung 1") == said.get("attach deadline") == "ok" and said.get("loop") == "armed" else "not all"
        how = f"{works}; {sum(effects)} of {len(effects)} groups of effect tests" if effects else f"{works}; all of `make check`"
        lines.append(row((f"{NAMES[label]} {one['kernel']}", said.get("tier", "-"), how, said.get("missing", "-"))))
    return "\n".join(lines)


def readme_write(found):
    text = README.read_text()
    before, rest = text.split(BEGIN, 1)
    README.write_text(before + BEGIN + "\n\n" + support(found) + "\n\n" + END + rest.split(END, 1)[1])


def cell(found, name):
    """Verdict, what the verifier looked at, what a run costs."""
    program = next((p for p in found["verdicts"]["programs"] if f"{p['object']}/{p['program']}" == name), None)
    if not program:
        return "-"
    if program["verdict"] != "runs":
        return program["verdict"]
    runs, ns = found["runs"].get(program["program"][:15], (0, 0))
    cost = f", {ns / runs:.0f} ns" if runs else ""
    return f"{program['insns']:,} / {program['states']:,}{cost}"


INTRO = """\
# Kernels

Written by `sudo tests/kernels/run --write`; `sudo make check-kernels` compares verdicts with `tests/kernels/expected.tsv` and
fails where one is another.

Each VM boots one of Debian's cloud kernels with a bare root file system, emulated, and runs effect tests of the guard there
(`tests/integration`). A cell: instructions that the verifier looked at / states it kept, nanoseconds a run by the kernel's own
statistics while a guard has everything to do (an empty program reads 35 ns on the development host). Emulated nanoseconds compare
within a column, not across. *absent*: the function that a program hangs on is not there. `-`: another tier's, not tried.
"""
OUTRO = """\
`lockdown`: 6.1 booted with `{lockdown}`. `clang`: the same sources by Debian 12's newest clang (19); all others by its default,
clang 14. `host`: the machine that this is developed on, where fentry is refused; its effect tests are those of `make check`.
"""


def compiler_differs(found, label):
    """What the newest compiler's programs are told that the default's are not."""
    default = verdicts_of(found[label.replace("clang", "").strip() or "6.1"])
    other = sorted(name for name, verdict in verdicts_of(found[label]).items() if default.get(name) != verdict)
    return f"* {label}: {', '.join(other) or 'the same verdicts as by clang 14'}"


def page(found, words):
    matrix = [label for label in NAMES if label in found]
    names = sorted({f"{p['object']}/{p['program']}" for label in matrix for p in found[label]["verdicts"]["programs"]})
    lines = [INTRO, row(("program", *(f"{NAMES[label]} {found[label]['kernel']}" for label in matrix))),
             row(("---",) * (len(matrix) + 1))]
    lines += [row((f"`{name}`", *(cell(found[label], name) for label in matrix))) for name in names]
    lines += ["", row(("", *found)), row(("---",) * (len(found) + 1))]
    for fact in (*FACTS, "hertz", "missing"):
        lines.append(row((fact, *(found[label]["verdicts"]["said"].get(fact, "-") for label in found))))
    lines.append(row(("effect tests passed", *(f"{sum(e['passed'] for e in one['effects'])} of {len(one['effects'])}"
                                               for one in found.values()))))
    lines += ["", OUTRO.format(**words), *[compiler_differs(found, label) for label in found if label.startswith("clang")]]
    return "\n".join(lines) + "\n"


def write(found, words):
    expected_write(found)
    PAGE.write_text(page(found, words))
    if README.read_text().count(BEGIN) == 1:
        readme_write(found)
