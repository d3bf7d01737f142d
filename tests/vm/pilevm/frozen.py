# SPDX-License-Identifier: GPL-2.0-or-later
"""The guard frozen in the middle of a run: systemd's freezer holds its whole cgroup, the api process too."""
from . import guard, records
from .machine import await_true

UNIT = "pileguard.service"
CGROUP = f"/sys/fs/cgroup/system.slice/{UNIT}"
BEFORE_S, AFTER_S = 5, 20       # frozen so long before the loss, thawed so long after the return
TICKS_MAX = 30                  # what the guard may tick around the two: 3 s of it


def never_woken(vm):
    """Without its watchdog: PID 1 would end a guard that does not move."""
    folder = f"/run/systemd/system/{UNIT}.d"
    vm.ssh(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=0\\n' > {folder}/frozen.conf && "
           f"systemctl daemon-reload && systemctl restart {UNIT}", timeout=120)
    await_true(lambda: guard.ask(vm, "status"), 60, "an answer of pileguardctl status", 0.5)


def cpu_ticks(vm):
    """What the guard has taken of the processors, in the kernel's units."""
    return vm.ssh(f"awk '{{print $14 + $15}}' /proc/$(systemctl show -p MainPID --value {UNIT})/stat").stdout.strip()


class Frozen:
    """The two steps, and what is to be said of the time between them."""

    def __init__(self, vm):
        self.vm, self.found = vm, {}

    def freeze(self):
        self.found["ticks"] = guard.ask(self.vm, "status")["guard"]["ticks_total"]
        self.found["at"] = records.now()
        self.vm.ssh(f"systemctl freeze {UNIT}", timeout=30)
        self.found["cpu"] = cpu_ticks(self.vm)

    def thaw(self):
        held = self.vm.ssh(f"cat {CGROUP}/cgroup.events").stdout
        self.found |= {"held": "frozen 1" in held, "cpu_moved": cpu_ticks(self.vm) != self.found["cpu"],
                       "seconds": records.now() - self.found["at"]}
        self.vm.ssh(f"systemctl thaw {UNIT}", timeout=30)
        status = await_true(lambda: guard.ask(self.vm, "status"), 60, "an answer after the thaw", 0.2)
        self.found |= {"ticked": status["guard"]["ticks_total"] - self.found["ticks"], "loop": status["guard"]["loop"],
                       "late": records.now() - self.found["at"] - self.found["seconds"]}


def checks(found, explained):
    """That it did not move, and that the loop in the kernel did."""
    told = [record for record in explained or [] if record.get("acted") and record["why"].get("in_kernel")]
    return [
        (found["held"] and not found["cpu_moved"] and found["ticked"] <= TICKS_MAX + 10 * found["late"],
         "the guard did not move from before the loss until long after the return",
         f"{found['ticked']} ticks in {found['seconds']:.0f} s and the {found['late']:.1f} s after the thaw"),
        (found["loop"]["opened_total"] > 0 and bool(told), "the loop in the kernel decided, and explain says so",
         f"{found['loop']['opened_total']} opened, longest time between two of its ticks {found['loop']['worst_gap_seconds']:.2f} s; "
         f"explain {[record['id'] for record in told]}"),
        (all(record["state"] == "closed" for record in told), "and it is over",
         ", ".join(f"{record['state']} after {record['lasted_seconds']:.1f} s" for record in told)),
    ]
