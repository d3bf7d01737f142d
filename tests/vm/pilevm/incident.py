# SPDX-License-Identifier: GPL-2.0-or-later
"""The incident's figures and verdicts, from the records of one run. Pure: no machine, no clock.

`data` is what Run.finish() returns; `phases` holds instants of the host's monotonic clock in
seconds: lost, storm (the caches are empty from here on), withdrawn (or None), returned, end.
"""
from . import collect, guard
from .records import between, quantile, seconds

LOGIN_IN_TIME_S = 30
IDLE_FACTOR = 3
STUCK_S = 1.0           # an authenticated request that waits longer than that is stuck
PEAK_BYTES = 300e6
OTHERS_CORES = .35      # more than that of two processors for other work: nothing was measured (tried: 0.1 good, 0.9 not)
WORST_CORES = .6        # the same over its worst ten seconds (tried: 0.4 good, 0.7 bad, 0.9 lost)
HEALTHY_LEAD_S = 2      # requests this close to the fault may be hit by it
MEGABYTE = 1e6


def took(record):
    return record["done"] - record["planned"]


def share(part, whole):
    return len(part) / len(whole) if whole else None


def percent(value):
    return "-" if value is None else f"{100 * value:.1f} %"


def of_count(part, whole):
    return f"{len(part):,} of {len(whole):,}"


def kind_of(records, kind):
    return [record for record in records if record["kind"] == kind]


def good(records):
    return [record for record in records if record["status"] == 200]


def as_auth(requests, kind):
    """Requests of this kind become authenticated ones, and what failed behind a head that was sent is an error of the application."""
    for record in requests:
        if record["kind"] == kind:
            record["kind"] = "auth"
            record["status"] = record["status"] if not record.get("app_error") else 503


def own_errors(records):
    return [record for record in records if record["status"] == 503 and record.get("app_error")]


def probes_of(records, what):
    """Probes of one kind, without the login that our own end cut short before it was late."""
    return [record for record in records if record["what"] == what
            and not (record.get("cut") and took(record) < LOGIN_IN_TIME_S)]


def in_time(records, limit_s):
    return [record for record in records if record["ok"] and took(record) <= limit_s]


def idle_figures(data):
    """The slowest tenth of nothing: p99 by nearest rank, which of 20 logins is the slowest."""
    figures = {}
    for what in ("banner", "login"):
        times = [took(record) for record in data["idle"] if record["what"] == what and record["ok"]]
        figures[what] = {"count": len(times), "median": quantile(times, .5), "p99": quantile(times, .99)}
    return figures


def recovery(requests, returned, end):
    """First good authenticated answer, and from when on 95 % are good; seconds after the return."""
    later = kind_of(between(requests, returned, end), "auth")
    answers = [record["done"] for record in good(kind_of(requests, "auth")) if record["done"] >= returned]
    settled = None
    for second in range(int(end - returned) - 1, -1, -1):
        part = between(later, returned + second, returned + second + 1)
        if part and share(good(part), part) < .95:
            break
        settled = second
    return {"first_s": min(answers) - returned if answers else None, "settled_s": settled,
            "answered": of_count(good(later), later), "share": share(good(later), later)}


def first_effect(requests, phases):
    """The first stuck authenticated request of the storm, and the first error of the application that a client sees.

    Not those that had an answer of the database under way when it was lost: nothing ends a wait on an established connection."""
    since = [record for record in kind_of(requests, "auth") if record["planned"] >= max(phases["lost"], phases["storm"] - 1)]
    stuck = [record["planned"] for record in since if record["status"] != 200 or took(record) > STUCK_S]
    effects = [record["done"] for record in own_errors(since)]
    return min(stuck, default=None), min(effects, default=None)


def drained_s(samples, withdrawn, end):
    """Seconds after the withdrawal from which nothing waits and nothing connects; None: never."""
    window = [sample for sample in samples if withdrawn <= sample["at"] < end]
    since = None
    for sample in window:
        busy = sample["in_flight"] > 0 or sample["connecting"] > 0
        since = None if busy else (since if since is not None else sample["at"])
    return None if since is None else since - withdrawn


def service_of(data):
    """What became of php-fpm: alive, dead; its peak, its main process, its killed workers."""
    samples = [sample for sample in data["samples"] if sample["at"] >= data["start"]]
    unit = data["found"].get("unit") or {}
    main_pids = sorted({int(sample["fpm_main_pid"]) for sample in samples if sample["fpm_main_pid"] > 0})
    killed = collect.killed_workers(data["found"])
    alive = bool(samples) and samples[-1]["fpm_tasks"] >= 1 and unit.get("ActiveState", "active") == "active"
    return {"alive": alive, "peak_bytes": max((sample["fpm_memory_peak"] for sample in samples), default=None),
            "main_pids": main_pids, "killed": [kill for kill in killed if kill[2] not in main_pids],
            "killed_by_itself": [kill for kill in killed if kill[2] in main_pids], "oom_kills": len(collect.oom_kills(data["found"])),
            "most_workers": max((int(sample["fpm_tasks"]) - 1 for sample in samples), default=None),
            "most_connecting": max((int(sample["connecting"]) for sample in samples), default=None),
            "least_available_mb": min((sample["available_kb"] for sample in samples), default=0) / 1024,
            "highest_load": max((sample["load1"] for sample in samples), default=None), "unit": unit}


def measure(data, phases):
    """All figures of a run; times in seconds."""
    requests = data["requests"]
    outage = between(requests, phases["storm"], phases["withdrawn"] or phases["returned"])
    probes = between(data["probes"], phases["storm"], phases["returned"])
    plain, auth = kind_of(outage, "plain"), kind_of(outage, "auth")
    errors = own_errors(auth)
    stuck, effect = first_effect(requests, phases)
    banners, logins = probes_of(probes, "banner"), probes_of(probes, "login")
    return {
        "idle": idle_figures(data), "service": service_of(data),
        "banners": len(banners), "banners_lost": len(banners) - len(in_time(banners, 10)),
        "banner_median_s": quantile([took(record) for record in banners], .5),
        "logins": len(logins), "logins_in_time": len(in_time(logins, LOGIN_IN_TIME_S)),
        "login_longest_s": max(map(took, logins), default=None),
        "plain": len(plain), "plain_answered": len(good(plain)), "plain_share": share(good(plain), plain),
        "plain_median_s": quantile([took(record) for record in good(plain)], .5),
        "plain_p99_s": quantile([took(record) for record in good(plain)], .99),
        "auth_outage": len(auth), "auth_good": len(good(auth)), "auth_own_errors": len(errors),
        "auth_error_median_s": quantile([took(record) for record in errors], .5),
        "auth_error_p99_s": quantile([took(record) for record in errors], .99),
        "refused_clients": len([record for record in requests if record["status"] in (0, 502, 504)]),
        "first_stuck_to_effect_s": effect - stuck if stuck is not None and effect is not None else None,
        "effect_at": effect, "recovery": recovery(requests, phases["returned"], phases["end"]),
        "drained_s": drained_s(data["samples"], phases["withdrawn"], phases["returned"])
                     if phases["withdrawn"] else None,
        "send_lag_p99_s": quantile([record["started"] - record["planned"] for record in requests], .99),
        "fuse_answered": of_count(*[pick(kind_of(between(requests, phases["lost"], phases["storm"]), "auth"))
                                    for pick in (good, list)]),
        "others_cores": data["others_cores"], "others_worst_cores": data["others_worst_cores"],
        "collected_by": data["found"]["by"], "explain_agrees_s": explain_agreement(data, effect),
    }


def explain_agreement(data, effect):
    """Seconds from the first effect that the guard explains to the first that a client saw."""
    explained = guard.first_effect(data["found"].get("explained"), data["wall_offset"])
    return None if explained is None or effect is None else effect - explained


def row(label, figures):
    """One row of the table of incident.md."""
    service, back = figures["service"], figures["recovery"]
    state = "alive" if service["alive"] else "dead"
    errors = (f"; authenticated errors after {seconds(figures['auth_error_median_s'])} (median), "
              f"{seconds(figures['auth_error_p99_s'])} (p99)") if figures["auth_own_errors"] else ""
    return [label, f"{figures['banners'] - figures['banners_lost']} of {figures['banners']}",
            f"{figures['logins_in_time']} of {figures['logins']}, {seconds(figures['login_longest_s'])}",
            f"{figures['plain_answered']} of {figures['plain']}, median {seconds(figures['plain_median_s'])}",
            back["answered"],
            f"{state}, peak {(service['peak_bytes'] or 0) / MEGABYTE:.0f} MB, {len(service['killed'])} killed{errors}"]


HEADER = ["guard", "ssh banners in time", "ssh logins in time, longest", "need no database: answered",
          "authenticated, database back: answered", "php-fpm"]


def healthy_checks(data, phases):
    """Before the fault the stack must have served: else this host was too busy, and the run says nothing."""
    warm = between(data["requests"], data["start"], phases["lost"] - HEALTHY_LEAD_S)
    median = quantile([took(record) for record in warm], .5)
    quiet = data["others_cores"] <= OTHERS_CORES
    return [(quiet and (share(good(warm), warm) or 0) >= .99 and at_most(median, 1),
             "healthy before the fault, or the run says nothing (is this host busy with other work?)",
             f"{percent(share(good(warm), warm))} good, median {seconds(median)}; other work took "
             f"{data['others_cores']:.2f} processors, {data['others_worst_cores']:.2f} in its worst ten seconds")]


def host_was_quiet(figures):
    """Whether this host left the guest what it needs, at every moment of the run."""
    return figures["others_cores"] <= OTHERS_CORES and figures["others_worst_cores"] <= WORST_CORES


def red_checks(figures):
    """Without the guard the host or the service must be lost, or the run proves nothing."""
    signs = [f"{figures['banners_lost']} banners lost"] if figures["banners_lost"] >= 10 else []
    if not figures["service"]["alive"]:
        signs.append("php-fpm dead at the end")
    if (figures["plain_share"] or 0) < .5:
        signs.append(f"{percent(figures['plain_share'])} of the requests that need no database answered")
    return [(bool(signs), "without the guard the host or the service is lost",
             ", ".join(signs) or "it survived: this run proves nothing")]


def late_probes(data, figures, phases, what):
    """Probes from the storm to the end that took longer than three times their idle 99th percentile."""
    limit = IDLE_FACTOR * figures["idle"][what]["p99"]
    tried = probes_of(between(data["probes"], phases["storm"], phases["end"]), what)
    return limit, tried, len(tried) - len(in_time(tried, limit))


def reach_checks(data, figures, phases):
    checks = []
    for what in ("banner", "login"):
        limit, tried, late = late_probes(data, figures, phases, what)
        slowest = max(map(took, tried), default=None)
        checks.append((aim(bool(tried) and late == 0), f"every {what} within 3 x idle p99 ({limit:.2f} s)",
                       f"{late} of {len(tried)} late, longest {seconds(slowest)}"))
    lost, missed = figures["banners_lost"], figures["logins"] - figures["logins_in_time"]
    checks.append((figures["banners"] > 0 and lost == 0, "every banner in time (10 s)", f"{lost} of {figures['banners']} lost"))
    checks.append((figures["logins"] > 0 and missed == 0, f"every login in time ({LOGIN_IN_TIME_S} s)",
                   f"{missed} of {figures['logins']} late"))
    return checks


def at_most(value, limit):
    return value is not None and value <= limit


def aim(reached, bearable=True):
    """True, or None where an aim is missed that docs/ARCHITECTURE.md explains: told as SHORT, no failure while it is bearable.

    A blip of 2 s must open nothing, so the proof takes 2.4 s; in that time 20 requests a second hold 6 MiB each, and two
    emulated processors need a second or two to refuse all of them.
    """
    return True if reached else None if bearable else False


def aim_at_most(value, limit, bearable):
    """The same of a figure, which must exist."""
    return aim(at_most(value, limit), at_most(value, bearable))


def green_checks(data, figures, phases, hang=False, locked=False):
    """What is asked of a run with the guard; hang: a hung database takes dead_after / 2 and then dead_after to prove.

    locked: clients hear of it when the lock has been handed on to their worker, a second or two after the wait was ended.
    """
    longer = 1.5 if hang else 0
    service, back = figures["service"], figures["recovery"]
    agrees = None if figures["explain_agrees_s"] is None else abs(figures["explain_agrees_s"])
    unlike = figures["auth_outage"] - figures["auth_good"] - figures["auth_own_errors"]
    checks = reach_checks(data, figures, phases) + [
        ((figures["plain_share"] or 0) >= .99, ">= 99 % of the requests that need no database answered",
         percent(figures["plain_share"])),
        (unlike == 0 and figures["auth_own_errors"] > 0, "authenticated ones get the application's own error",
         f"{figures['auth_own_errors']:,} do, {unlike} get something else"),
        (aim_at_most(figures["auth_error_p99_s"], 2 + longer, 10), f"that error's p99 < {2 + longer:g} s",
         seconds(figures["auth_error_p99_s"])),
        (aim_at_most(service["peak_bytes"], PEAK_BYTES, (3 if hang else 2) * PEAK_BYTES),
         "peak of the group's memory < 300 MB",
         f"{(service['peak_bytes'] or 0) / MEGABYTE:.0f} MB"),
        (service["alive"] and len(service["main_pids"]) == 1, "php-fpm's main process unchanged",
         f"pids {service['main_pids']}"),
        (not service["killed"] and not service["oom_kills"], "no worker killed by a signal",
         f"{service['killed'] or 'none'} (pid, signal, sender), {service['oom_kills']} by the kernel; idle ones that php-fpm "
         f"ended itself: {service['killed_by_itself'] or 'none'}"),
        (figures["refused_clients"] == 0, "no client refused or left without an answer", figures["refused_clients"]),
        (aim_at_most(figures["first_stuck_to_effect_s"], 3 + longer, 5 + 2 * longer),
         f"first effect within {3 + longer:g} s of the first stuck request",
         seconds(figures["first_stuck_to_effect_s"])),
        (aim_at_most(agrees, .1, 3 if locked else 1), "explain's first effect agrees within 100 ms",
         seconds(figures["explain_agrees_s"])),
        (at_most(back["first_s"], 3), "first good answer within 3 s of the return", seconds(back["first_s"])),
        (at_most(back["settled_s"], 10), ">= 95 % good within 10 s of the return", seconds(back["settled_s"])),
    ]
    if phases["withdrawn"]:
        checks.append((at_most(figures["drained_s"], 15), "traffic withdrawn: nothing waits after 15 s",
                       seconds(figures["drained_s"])))
    return checks
