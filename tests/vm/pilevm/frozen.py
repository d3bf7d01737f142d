# SPDX-License-Identifier: GPL-2.0-or-later
"""The guard frozen in the middle of a run: systemd's freezer holds its whole cgroup, the api process too.

The figures are those of any run with the guard. One aim is missed by far: nobody ends the waits that are pending when the gate
shuts, and one connect a second is a user's; both end at their next SYN time-out but one, after 3 or 7 s.
"""
from . import guard, records
from .machine import await_true
from .stack import DATABASE

UNIT = "pileguard.service"
CGROUP = f"/sys/fs/cgroup/system.slice/{UNIT}"
BEFORE_S, AFTER_S = 5, 20       # frozen so long before the loss, thawed so long after the return
TICKS_MAX = 30                  # what the guard may tick around the two: 3 s of it


def status_of(vm):
    return await_true(lambda: guard.ask(vm, "status"), 60, "an answer of pileguardctl status", 0.2)


def never_woken(vm):
    """Without its watchdog: PID 1 would end a guard that does not move."""
    folder = f"/run/systemd/system/{UNIT}.d"
    vm.ssh(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=0\\n' > {folder}/frozen.conf && "
           f"systemctl daemon-reload && systemctl restart {UNIT}", timeout=120)
    status_of(vm)


def cpu_ticks(vm):
    """(pid, what the guard has taken of the processors, in the kernel's units)."""
    return vm.ssh(f"awk '{{print $1, $14 + $15}}' /proc/$(systemctl show -p MainPID --value {UNIT})/stat").stdout.split()


class Frozen:
    """The two steps, and what is to be said of the time between them."""

    def __init__(self, vm):
        self.vm, self.found = vm, {}

    def freeze(self):
        self.found["ticks"] = status_of(self.vm)["guard"]["ticks_total"]
        self.found["at"] = records.now()
        self.vm.ssh(f"systemctl freeze {UNIT}", timeout=30)
        self.found["cpu"] = cpu_ticks(self.vm)

    def thaw(self):
        held = self.vm.ssh(f"cat {CGROUP}/cgroup.events").stdout
        self.found |= {"held": "frozen 1" in held, "cpu_moved": cpu_ticks(self.vm) != self.found["cpu"],
                       "seconds": records.now() - self.found["at"]}
        self.vm.ssh(f"systemctl thaw {UNIT}", timeout=30)
        status = status_of(self.vm)
        self.found |= {"ticked": status["guard"]["ticks_total"] - self.found["ticks"], "loop": status["guard"]["loop"],
                       "late": records.now() - self.found["at"] - self.found["seconds"]}


def newest(explained):
    """The newest explain record of rung 1 towards the database; empty when there is none."""
    of_database = [record for record in explained or [] if (record["kind"], record["endpoint"]) == ("fail_fast", DATABASE)]
    return max(of_database, key=lambda record: record["id"], default={})


def checks(found, explained):
    """That it did not move, and that the loop in the kernel did."""
    record = newest(explained)
    by_loop = record.get("acted") and record["why"]["in_kernel"]
    return [
        (found["held"] and not found["cpu_moved"] and 0 <= found["ticked"] <= TICKS_MAX + 10 * found["late"],
         "the guard did not move from before the loss until long after the return",
         f"{found['ticked']} ticks in {found['seconds']:.0f} s and the {found['late']:.1f} s after the thaw"),
        (found["loop"]["opened_total"] > 0 and bool(by_loop), "the loop in the kernel decided, and explain says so",
         f"{found['loop']['opened_total']} opened, longest time between two of its ticks {found['loop']['worst_gap_seconds']:.2f} s; "
         f"newest explain {record.get('id')}: in_kernel {record.get('why', {}).get('in_kernel')}"),
        (record.get("state") == "closed", "and it is over",
         f"{record.get('state')} after {records.seconds(record.get('lasted_seconds'))}"),
    ]
