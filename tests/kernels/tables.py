# SPDX-License-Identifier: GPL-2.0-or-later
"""What was found on the kernels, as documents: expected.tsv, docs/KERNELS.md, the README's table.

usage: python3 tests/kernels/tables.py        whether those three, and the programs of bpf/, agree; prints file:line: what
"""
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
EXPECTED = HERE / "expected.tsv"
PAGE = TREE / "docs/KERNELS.md"
README = TREE / "README.md"
BEGIN, END = "<!-- make check-kernels writes this table -->", "<!-- end of it -->"
NAMES = {"6.1": "Debian 12's", "6.12": "Debian 12 backports', Debian 13's", "7.x": "Debian unstable's", "host": "development host"}
FACTS = ("tier", "loop", "attach rung 1", "attach deadline")
# effect tests that fail for a reason that is known, and is none of the guard's programs': said, not counted as failures
KNOWN = {
    ("7.x", "test_conserve"): "a program can be preempted there, and the kernel drops what another task would run of it meanwhile: "
                              "some requests in a thousand (emulated) are not counted",
}
KERNEL = "kernel"   # one more fact, of the host alone: on another one its verdicts say nothing


def verdicts_of(found):
    """name -> verdict: each program, and what the guard says of the whole."""
    verdicts = found["verdicts"]
    return {**{f"{p['object']}/{p['program']}": p["verdict"] for p in verdicts["programs"]},
            **{fact: verdicts["said"][fact] for fact in (*FACTS, KERNEL) if fact in verdicts["said"]}}


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


def known(label, one):
    """Why effect tests failed there that are known to."""
    return [KNOWN[label, e["name"]] for e in one["effects"] if not e["passed"] and (label, e["name"]) in KNOWN]


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
        missing = [said.get("missing", "-"), *known(label, one)]
        lines.append(row((f"{NAMES[label]} {one['kernel']}", said.get("tier", "-"), how,
                          "; ".join(word for word in missing if word != "nothing") or "nothing")))
    return "\n".join(lines)


def between(text):
    """(before, the table, after) of a page that has both marks."""
    before, rest = text.split(BEGIN, 1)
    table, after = rest.split(END, 1)
    return before, table, after


def readme_write(found):
    before, _, after = between(README.read_text())
    README.write_text(f"{before}{BEGIN}\n\n{support(found)}\n\n{END}{after}")


def cell(found, name):
    """Verdict, its size, what the verifier looked at, what a run costs."""
    program = next((p for p in found["verdicts"]["programs"] if f"{p['object']}/{p['program']}" == name), None)
    if not program:
        return "-"
    verdict = program["verdict"]
    if not program["size"]:
        return verdict
    names = (program["program"], program["program"][:15])     # bpftool takes a long name from BTF, where it can
    runs, ns, missed = next((found["runs"][one] for one in names if one in found["runs"]), (0, 0, 0))
    cost = (f", {ns / runs:.0f} ns" if runs else "") + (f", {missed} missed" if missed else "")
    return f"{'' if verdict == 'runs' else verdict + ', '}{program['size']:,} / {program['insns']:,} / {program['states']:,}{cost}"


INTRODUCTION = """\
Written by `sudo tests/kernels/run --write`; `sudo make check-kernels` compares verdicts with `tests/kernels/expected.tsv` and fails
where one is another.

Each VM boots one of Debian's cloud kernels with a bare root file system and no systemd, emulated, and runs the guard's effect tests
there (`tests/integration`); `host` is the machine that this is developed on, without a VM."""

LEGEND = """\
A cell of a program that runs: its instructions as the kernel has rewritten them / those that the verifier looked at, each as often as
it did / states it kept, and nanoseconds a run, by the kernel's own statistics (natively they add 35 to each), while a guard has
everything to do. These are some hundred runs, on cold caches, and where a kernel is emulated **they are only for comparison within a
column**; what the guard really costs is in [COST.md](COST.md). A timer's ticks (`loop`) are in no statistics. Other words:

| word | |
|---|---|
| spare | loads and attaches; another does its work: `requests` is tier A, `requests_fentry` tier B, `sweep_all` stands in for `sweep` |
| left | loads and attaches by itself, but another of its object is refused, and the guard takes an object whole or not at all |
| absent | the function or tracepoint that it hangs on is not in that kernel |
| refused, not attached | with the kernel's reason |"""


def whys(found):
    """What verifiers said where they refused."""
    return [f"* {label}, `{p['object']}/{p['program']}`: {p['why']}"
            for label, one in found.items() for p in one["verdicts"]["programs"] if p["why"]]


def beside(found, words):
    """The parts that are one of the columns again, in other circumstances: where they fare otherwise."""
    lines = []
    for label, base, what in (("lockdown", "6.1", f"6.1 booted with `{words.get('lockdown', '')}`"),
                              ("clang", "6.1", "6.1, the programs by Debian 12's newest clang (19; all others by its default, 14)"),
                              ("clang 6.12", "6.12", "6.12, the programs by clang 19")):
        if label not in found or base not in found:
            continue
        now, then = verdicts_of(found[label]), verdicts_of(found[base])
        other = [f"`{name}`: {now.get(name, '-')}" for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
        same = f"All {len(now)} verdicts are those of {base}: every sensor, both gates, the deadline and the loop are there"
        lines.append(f"* `{label}`: {what}. {'; '.join(other) or same}.")
    return lines


def page(found, words):
    matrix = [label for label in NAMES if label in found]
    names = list(dict.fromkeys(f"{p['object']}/{p['program']}" for label in matrix for p in found[label]["verdicts"]["programs"]))
    lines = ["# Kernels", "", INTRODUCTION, "", BEGIN, "", support(found), "", END, "", "## Programs", "", LEGEND, "",
             row(("program", *(f"{label}: {found[label]['kernel']}" for label in matrix))), row(("---",) * (len(matrix) + 1))]
    lines += [row((f"`{name}`", *(cell(found[label], name) for label in matrix))) for name in names]
    lines += ["", *whys(found)] if whys(found) else []
    lines += ["", "## The whole", "", row(("", *(f"{label}" for label in found))), row(("---",) * (len(found) + 1))]
    for fact in (*FACTS, "hertz", "missing"):
        lines.append(row((fact, *(found[label]["verdicts"]["said"].get(fact, "-") for label in found))))
    lines.append(row(("effect tests passed", *(f"{sum(e['passed'] for e in found[label]['effects'])} of {len(found[label]['effects'])}"
                                              if found[label]["effects"] else "those of `make check`" for label in found))))
    lines += ["", *beside(found, words)]
    return "\n".join(lines).rstrip() + "\n"


def write(found, words):
    expected_write(found)
    PAGE.write_text(page(found, words))
    if README.read_text().count(BEGIN) == 1:
        readme_write(found)


def sources():
    """object/program of everything in bpf/."""
    pattern = re.compile(r'^SEC\("(?!license|\.maps)[^"]+"\)\nint (?:BPF_PROG\()?(\w+)', re.M)
    return {f"{path.name.split('.')[0]}/{name}"
            for path in (TREE / "bpf").glob("*.bpf.c") for name in pattern.findall(path.read_text())}


def page_verdicts():
    """label -> name -> verdict, as the page's table of programs has them."""
    found, labels = {}, []
    for line in PAGE.read_text().splitlines():
        cells = [one.strip() for one in line.strip("|").split("|")]
        if line.startswith("| program |"):
            labels = [one.split(":")[0] for one in cells[1:]]
        elif line.startswith("| `") and labels:
            for label, text in zip(labels, cells[1:]):
                found.setdefault(label, {})[cells[0].strip("`")] = "runs" if text[0].isdigit() else text.split(",")[0]
    return found


def disagreements():
    """Lines for tests/lint: a table that was edited by hand, a program that no kernel was asked about."""
    page_file, readme_file, expected_file = (str(path.relative_to(TREE)) for path in (PAGE, README, EXPECTED))
    missing = [f"{path.relative_to(TREE)}:1: is not there: sudo tests/kernels/run --write"
               for path in (PAGE, EXPECTED) if not path.exists()]
    if missing:
        return missing
    lines = []
    if between(README.read_text())[1] != between(PAGE.read_text())[1]:
        lines.append(f"{readme_file}:1: the table of kernels is not that of {page_file}")
    expected, shown = expected_read(), page_verdicts()
    for label, verdicts in shown.items():
        for name in sorted(sources() ^ set(verdicts)):
            lines.append(f"{page_file}:1: {name}: " + ("no kernel was asked about it" if name not in verdicts else "is not in bpf/"))
        lines += [f"{page_file}:1: {label}, {name}: {verdict} here, {expected.get(label, {}).get(name)} in {expected_file}"
                  for name, verdict in verdicts.items() if expected.get(label, {}).get(name) != verdict]
    return lines if shown else [f"{page_file}:1: has no table of programs"]


if __name__ == "__main__":
    print("".join(f"{line}\n" for line in disagreements()), end="")
    sys.exit(0)
