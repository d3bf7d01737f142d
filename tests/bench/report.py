# SPDX-License-Identifier: GPL-2.0-or-later
"""report.py: the figures as a table on the terminal, and as docs/COST.md."""
import statistics
import textwrap
import time

from benchlib import FIGURES, machine, number

# Paragraphs and points of the page, each of them wrapped when it is written.
MEASURED = """\
{date}, on {machine}. What the guard misses there, by its own word: {missing}.

{load}

* Each figure is the median of {repeat} of its part, with the least and the greatest beside it where there were more than one.
* *Nanoseconds of an event* are the kernel's own statistics (`kernel.bpf_stats_enabled`) of the guard's programs, less what they read
for a program of the same type that does nothing, attached beside them in the same seconds. They are times on the clock: whoever
takes the processor away in the middle of a run is in them.
* *With the guard / without* are medians of the ratios of {pairs} pairs of runs, one after the other, now the one and now the other
first: never one absolute time against another. They are made of CPU time, and of requests a second where it says so.
* *CPU of the guard* is the kernel's account of its threads. A *tick* is what the control loop's thread used between two pauses, so
with all that the kernel does on its behalf; the median of 100 is one without a walk, the dearest one has a sweep in it.
* Loads are nginx, php-fpm and wrk, or the programs in `tests/bench`, on loopback or in a network namespace of the test's own, on the
same processors as the guard, and bounded in number and time.

It takes about {minutes} minutes a round. For your machine, run it there: `sudo make bench`.
"""

# part -> title, what it is about, why an aim in it is missed
PARTS = {
    "hooks": ("One event", """\
A connection over loopback that asks and answers without a pause, each end where the scheduler puts it. *Ours*: accepted by a service
that is watched; *foreign*: all others of the host, which only pay for the look whether they are ours.""", """\
the look into the socket's own storage alone takes more than the aim here, once for each of the three hooks that an end of a
connection passes (docs/HACKING.md, "What is open"); the cache lines of the state and of the counters move between the processors on
top of it: the next table has both ends on one."""),
    "cores": ("One group on one processor and on two", """\
Each processor has a connection of its own with both its ends there; all belong to one group. So only what the guard counts is shared,
and counters are kept for each processor: does it scale? CPU time is that of both ends.""", """\
see the single values: on a virtual machine two processors at once are disturbed more often than one."""),
    "request": ("A whole request", """\
All runs of the guard's programs for one request through nginx and php-fpm: wrk's end, the proxy and the worker together.""", """\
17 to 32 runs a request, each with the look of the first table. On a quieter day 2.2 to 5.0 us were measured."""),
    "throughput": ("Throughput", """\
wrk against nginx and php-fpm at their limit, with the guard and without. By least CPU time a request: what else runs on the machine
can only add to it, so the least of all runs is nearest to the truth; requests a second are what it looks like from outside.""", """\
where a request does next to nothing (`return 200`, or php-fpm with "hello") the events above are a large part of it. One that takes
5 ms of CPU time would take a thousandth more, by the figures of a whole request."""),
    "idle": ("Nothing to do", """\
Every service of the host is watched, none is asked by the test.""", """\
where the kernel refuses walks of socket storage, as here, all sockets and descriptors of the host are walked instead. Most of that is
the kernel's table of TCP connections: 262,144 places on this machine, nearly all empty, gone through twice. That is done each second
while anything happens on any watched service (here the connections to a virtual machine of somebody else's are one), else each
fifth. The ticks alone take about as much as the aim allows in all."""),
    "saturated": ("At the limit", "nginx and php-fpm at their limit, on the same processors as the guard.", ""),
    "groups": ("Many groups", "Groups of the policy, all enforcing, one worker each, idle.", """\
a tick touches each group's counters, its window of the last seconds, its verdict and what is normal for it, some KiB each: on
processors that others use as well that comes from memory, not from a cache, ten times a second. And 13 cgroups are looked at in each.
It took 2.7 times as long before that was spread over a second, idle groups' wheels were left unread, and a calm snapshot was published
only twice a second (1.3 ms against 0.5, in turn, on the same busy host). The memory is the groups' own state: some 35 KiB each."""),
    "crowd": ("Many workers, many connections", """\
One group; every connection stands and is followed. *All waiting*: a request on each, none answered. *A sweep* is its time on the
clock: longer than its CPU time where others have the processors. One of more than 100 ms makes the next tick late.""", """\
see the single values."""),
    "latency": ("How soon it acts", """\
40 workers, a database in a network namespace of its own whose packets are dropped.""", """\
see the single values: on a busy host the worker that was woken needs a processor before anybody sees it."""),
}


def table_print():
    lines = list(FIGURES.lines())
    width = max(len(what) for _, what, *_ in lines)
    before = ""
    for part, what, value, span, aim, verdict in lines:
        if part != before:
            print(f"\n{part:{width}}  {'MEASURED':>16}  {'AIM':>9}")
        before = part
        print(f"{what:{width}}  {value:>16}  {aim:>9}  {verdict:6}  {span}".rstrip())


def value_of(part, *words):
    """The figure of the part's first row that has all these words in its name."""
    for name, what, value, *_ in FIGURES.lines():
        if name == part and all(word in what for word in words):
            return value
    return "(not measured)"


def wrapped(text):
    """Paragraphs, and points that begin with a star."""
    out = []
    for paragraph in text.strip().split("\n\n"):
        for point in paragraph.replace("\n* ", "\0* ").split("\0"):
            out += textwrap.wrap(" ".join(point.split()), 132, break_long_words=False, break_on_hyphens=False,
                                 subsequent_indent="  " if point.startswith("* ") else "")
        out.append("")
    return out


def summary():
    idle, busy = value_of("idle", "guard, of a core"), value_of("saturated", "guard, of a core")
    return f"""\
In short, on the machine below. CPU: {idle} of one core with nothing to do, {busy} while nginx and php-fpm answer
{value_of("saturated", "requests")}, {value_of("crowd", "all waiting: guard, of a core")} with 10,000 requests waiting at once on 1,000
workers. Memory: {value_of("idle", "guard resident")} for the guard, {value_of("idle", "api process resident")} for the process that
answers, {value_of("idle", "memory of its maps")} of the kernel's. A request: {value_of("request", "unix, fresh")} more in all, in wrk,
nginx and php-fpm together, over unix sockets; a round trip over loopback, which does nothing else,
{value_of("cores", "adds", "on 1 processor")} of CPU time. Refusing a connect takes {value_of("latency", "refused connect, median")}."""


def section(part, lines):
    title, about, missed = PARTS[part]
    out = ["", f"## {title}", "", *wrapped(about), "| | measured | least ... greatest | aim | |", "|---|---|---|---|---|"]
    for _, what, value, span, aim, verdict in lines:
        out.append(f"| {what} | {value} | {span} | {aim} | {'**missed**' if verdict == 'MISSED' else 'met' if verdict else ''} |")
    if missed and any(line[-1] == "MISSED" for line in lines):
        out += ["", *wrapped("Missed: " + missed)[:-1]]
    return out


def load_told(load):
    told = (f"Other programs used {number(statistics.median(load))} of its processors (median before each part; {number(min(load))} to "
            f"{number(max(load))}).")
    if max(load) > 0.1:
        told += (" So it was not quiet: times are longer, and their spread wider, than on a machine of one's own; ratios, and CPU time "
                 "in percent of a core, suffer less.")
    return told


def markdown(repeat, pairs, load, seconds):
    """The page. load: what others used before each part, in processors; seconds: how long all took."""
    lines = list(FIGURES.lines())
    measured = MEASURED.format(date=time.strftime("%Y-%m-%d"), machine=machine(), missing=FIGURES.missing or "nothing",
                               load=load_told(load), repeat=f"{repeat} runs" if repeat > 1 else "one run", pairs=pairs,
                               minutes=max(1, round(seconds / repeat / 60)))
    out = ["# What pileguard costs", "", "Written by `sudo make bench BENCH='--markdown docs/COST.md'`; change "
           "`tests/bench/report.py`, not this page.", "", *wrapped(summary()), "## How it was measured", "", *wrapped(measured)[:-1]]
    for part in PARTS:
        mine = [line for line in lines if line[0] == part]
        if mine:
            out += section(part, mine)
    return "\n".join(out) + "\n"
