# SPDX-License-Identifier: GPL-2.0-or-later
"""From one run's records to one row of docs/COMPARISON.md, and from all rows to the document. Pure: no machine, no clock.

A result is what scenarios/compare keeps as JSON: who, what, when, and `figures`; the document says nothing that is not in one.
"""
from collections import Counter

from . import guard, incident, kills, peers
from .records import between, quantile, seconds

SCENARIOS = {
    "incident": "The incident: every packet to the database is dropped. A request that finds no configuration in the cache (it lives "
                "8 s) holds 6 MiB and waits for a connection.",
    "locked": "The same loss, but one worker asks the database under a lock of the cache, and all others wait for the lock: no connect "
              "of theirs tells.",
    "hog": "One request takes all memory as fast as it can, in a static pool of ten (row \"pm.max_children = 80\": in that pool); the "
           "database is well.",
}
HEADER = ["guard", "ssh banners in time", "ssh logins in time, longest", "need no database: answered", "killed", "time to act",
          "php-fpm", ">= 95 % good again after", "neighbour: answered, p99", "measured"]
NOT_MEASURED = "not measured"


def neighbour_of(data, phases):
    """The other service on the host: before the cause, and from then to the end."""
    asked = incident.kind_of(data["requests"], "neighbour")
    before, later = between(asked, data["start"], phases["lost"]), between(asked, phases["lost"], phases["end"])
    return {"asked": len(later), "answered": len(incident.good(later)), "p99_s": quantile(list(map(incident.took, later)), .99),
            "before_p99_s": quantile(list(map(incident.took, before)), .99)}


def victims_of(killed, units, hog_pid):
    """How often who was killed: the hog, a worker of php-fpm, who else by unit or by name. units: {unit: pids before the cause}."""
    def name(kill):
        if hog_pid and kill["pid"] == hog_pid:
            return "the hog"
        owner = next((unit for unit, pids in units.items() if kill["pid"] in pids), None)
        if owner and owner != "php8.2-fpm.service":
            return owner
        if owner and kill["pid"] == units[owner][0]:
            return "php-fpm's main process"
        if kill["comm"] in ("systemd", "(sd-pam)"):     # PID 1 is never chosen
            return f"{kill['comm'].strip('()')} of a login"
        return "php-fpm's workers" if kill["comm"].startswith("php-fpm") else kill["comm"]
    return Counter(map(name, killed))


def pileguards_act(record):
    """The first effect that a record of pileguard's tells, by the guest's wall clock, or None. Only rung 1 opens before it has one."""
    effect = record["did"].get("first_effect_after_seconds")
    if not record["acted"] or (effect is None and record["kind"] == "fail_fast"):
        return None
    return guard.wall_time(record["opened_at"]) + (effect or 0)


def acted_of(data, killed, cause):
    """The first act: (seconds after the cause, by whom); a kill, or what pileguard says that it did."""
    acts = [(kill["at"] + data["offset"], kill["by"]) for kill in killed]
    acts += [(at + data["wall_offset"], f"pileguard: {record['kind']}") for record in data["found"].get("explained") or []
             if (at := pileguards_act(record)) is not None]
    at, by = min(acts, default=(None, None))
    return None if at is None else {"after_s": at - cause, "by": by}


def figures_of(scenario, data, phases, units, guard_pids):
    """All that the table needs, and what else the incident's figures are."""
    figures = incident.measure(data, phases)
    stuck = incident.first_effect(data["requests"], phases)[0] if scenario != "hog" else None
    cause = phases["lost"] if stuck is None else stuck
    found = data["found"]
    killed = kills.kills(found["journal"], found.get("signals"), guard_pids, phases["lost"] - data["offset"])
    if scenario == "hog":   # nothing returns: good again since the request began
        figures["recovery"] = incident.recovery(data["requests"], phases["lost"], phases["end"])
    return figures | {
        "healthy": incident.healthy_checks(data, phases)[0], "quiet": incident.host_was_quiet(figures),
        "cause_after_s": cause - phases["lost"],
        "killed": killed, "victims": victims_of(killed, units, data.get("hog_pid")), "hog_pid": data.get("hog_pid"),
        "acted": acted_of(data, killed, cause), "neighbour": neighbour_of(data, phases),
        "explained": [x["why_text"] for x in found.get("explained") or [] if x["acted"]]}


def killed_cell(scenario, figures):
    """Right victim? Where a dependency is lost there is none."""
    victims = dict(figures["victims"])
    hog = victims.pop("the hog", 0)
    others = ", ".join(f"{count} of {name}" if name.endswith(("workers", "service")) else f"{count} {name}"
                       for name, count in sorted(victims.items()))
    if scenario != "hog":
        return f"innocent: {others}" if others else "nobody, as is right"
    if not hog:
        return f"not the hog, innocent: {others}" if others else "nobody"
    return f"the hog; innocent: {others}" if others else "the hog alone, as is right"


def service_cell(service):
    if not service["alive"]:
        return f"**dead** ({service['unit'].get('Result') or 'not reachable at the end'})"
    return "alive" if len(service["main_pids"]) == 1 else f"alive, started anew ({len(service['main_pids'])} main processes)"


def row(result):
    """The cells of one run that was measured."""
    figures = result["figures"]
    acted, back, there = figures["acted"], figures["recovery"], figures["neighbour"]
    return [peers.ROWS[result["guard"]].label, f"{figures['banners'] - figures['banners_lost']} of {figures['banners']}",
            f"{figures['logins_in_time']} of {figures['logins']}, {seconds(figures['login_longest_s'])}",
            f"{figures['plain_answered']} of {figures['plain']}, median {seconds(figures['plain_median_s'])}",
            killed_cell(result["scenario"], figures), f"{acted['after_s']:.1f} s ({acted['by']})" if acted else "-",
            service_cell(figures["service"]), "never" if back["settled_s"] is None else f"{back['settled_s']} s",
            f"{there['answered']} of {there['asked']}, {seconds(there['p99_s'])} (before {seconds(there['before_p99_s'])})",
            f"{result['at'][:10]}, {result['commit']}, {result['kernel']}" + ("" if figures["quiet"] else "; this host was busy, too")]


def rows(results, scenario):
    """A row for each guard, measured or not; of several runs the newest."""
    newest = {result["guard"]: result for result in sorted(results, key=lambda result: result["at"]) if result["scenario"] == scenario}
    nothing = [NOT_MEASURED] * (len(HEADER) - 1)
    return [row(newest[name]) if name in newest else [entry.label, *nothing] for name, entry in peers.ROWS.items()]


def markdown(header, lines):
    cells = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)


INTRO = """\
# Beside other guards

Written by `tests/vm/run compare` from the figures in `docs/comparison`: what is not in there is "not measured". Nothing here is changed
by hand.

The same throwaway Debian 12 for each line (2 emulated processors, {memory} MiB, no swap), fresh, with one guard or one tuning in it:
nginx -> php-fpm (`pm = ondemand`, 1,000 workers at most) -> MariaDB. {rate:g} requests/s in open loop, each client patient for 30 s:
80 % need the configuration, 16 % need no database, 4 % are for a **neighbour**, another php-fpm in a unit of its own behind the same
nginx. {warm:g} s of health, {outage:g} s of the fault, {back:g} s after it; seed {seed}. Emulated processors are ten to twenty times
slower than real ones: compare lines with each other, not their seconds with your hosts'.

"""
COLUMNS = (
    ("ssh banners in time", "one asked each second of the fault (from the end of the cache on); within 10 s"),
    ("ssh logins in time", "the whole of it, with `sudo systemctl status php8.2-fpm`, one after the other; within 30 s"),
    ("killed", "by a guard or the kernel, from the fault on. Nobody is the cause of a lost database: there, whoever is killed is "
               "innocent"),
    ("time to act", "from the first request that got stuck (hog: from its start) to the first kill, or the first connect or "
                    "connection that pileguard refused or ended. Limits of a configuration (a pool's size, a timeout) are no act"),
    ("php-fpm", "at the end: the same main process, or not"),
    (">= 95 % good again", "for good, of what needs the configuration: after the database's return; hog: after its start"),
    ("neighbour", "from the fault to the end; its p99 counts those that had no answer, too"),
    ("measured", "when, pileguard's commit (`+`: with changes that were not committed), the guest's kernel"),
)


def document(results):
    """docs/COMPARISON.md."""
    settings = max(results, key=lambda result: result["at"])["settings"] if results else None
    parts = ["# Beside other guards\n\nNothing was measured.\n"]
    if settings:
        parts = [INTRO.format(**settings) + markdown(["column", ""], COLUMNS) + "\n"]
    unlike = sorted({f"{result['scenario']} {result['guard']}" for result in results if result["settings"] != settings})
    if unlike:
        parts.append(f"Measured with other settings than these, see their JSON: {', '.join(unlike)}.\n")
    for scenario, what in SCENARIOS.items():
        parts.append(f"## {scenario}\n\n{what}\n\n{markdown(HEADER, rows(results, scenario))}\n")
    versions = {result["guard"]: result["version"] for result in results if result.get("version")}
    parts.append("## The rows\n\n" + markdown(["guard", "what it is", "version"], [
        [entry.label, entry.what, versions.get(name, "")] for name, entry in peers.ROWS.items()]) + "\n")
    return "\n".join(parts)
