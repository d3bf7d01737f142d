# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be put on a host against such incidents: other guards, hands that knew beforehand, ours. The rows of docs/COMPARISON.md."""
from dataclasses import dataclass
from typing import Callable

from . import guard, stack
from .machine import MachineError, await_true
from .seen import out


@dataclass(frozen=True)
class Row:
    label: str
    what: str                                   # it is, for the document
    prepare: Callable = lambda vm: None         # puts it into a guest that has settled; None of ours
    unit: str = None                            # the processes that act
    package: str = None
    policy: str = None                          # of pileguard
    pool_max: int = None                        # what the hand made of pm.max_children


def start(vm, unit, socket=""):
    """Starts a unit that the image masks, with its socket."""
    vm.ssh(f"systemctl unmask -q {unit} {socket} && systemctl start {unit}", timeout=90)
    await_true(lambda: out(vm, f"systemctl is-active {unit}") == "active", 30, f"{unit} is active", 0.5)


def start_oomd(vm):
    """Its kill by pressure is asked for where its manual has it asked for: of the unit, and of the slice that the unit is in."""
    drop_in(vm, "php8.2-fpm.service", "[Service]", "ManagedOOMMemoryPressure=kill", "ManagedOOMMemoryPressureLimit=50%")
    drop_in(vm, "system.slice", "[Slice]", "ManagedOOMMemoryPressure=kill", "ManagedOOMMemoryPressureLimit=50%")
    # when it asks systemd for the first time, it is told of all
    start(vm, "systemd-oomd.service", "systemd-oomd.socket")
    try:
        await_true(lambda: "/system.slice/php8.2-fpm.service" in out(vm, "oomctl"), 60, "systemd-oomd watches php-fpm", 1)
    except MachineError as error:
        raise MachineError(f"{error}: {out(vm, 'oomctl 2>&1')}") from None


def tune(vm):
    drop_in(vm, "php8.2-fpm.service", "[Service]", "MemoryMax=800M", "MemoryHigh=700M", "CPUWeight=50", "TasksMax=300")
    # a minimum counts for nothing below a slice that has none
    drop_in(vm, "ssh.service", "[Service]", "MemoryMin=64M")
    drop_in(vm, "system.slice", "[Slice]", "MemoryMin=64M")
    group = "/sys/fs/cgroup/system.slice/php8.2-fpm.service/memory.max"
    if out(vm, f"cat {group}") != str(800 << 20):
        raise MachineError("the unit's MemoryMax is not in force")


def drop_in(vm, unit, *lines):
    folder = f"/etc/systemd/system/{unit}.d"
    vm.ssh(f"mkdir -p {folder} && cat > {folder}/50-compare.conf && systemctl daemon-reload", input="\n".join(lines) + "\n")


def edit(vm, path, old, new):
    """One word of a file is another; php-fpm is started anew."""
    vm.ssh(f"grep -q '{old}' {path} && sed -i 's/{old}/{new}/' {path} && systemctl restart php8.2-fpm", timeout=90)
    await_true(lambda: '"config"' in out(vm, "curl -s -m 15 http://127.0.0.1/auth"), 60, "a good authenticated answer", 0.5)


PILEGUARD = "pileguard.service"
ROWS = {
    "none": Row("none", "nothing but the kernel and systemd, as Debian has them; a pool that nobody sized (pm.max_children = 1000)"),
    "earlyoom": Row("earlyoom", "Debian's package, its defaults", lambda vm: start(vm, "earlyoom.service"), "earlyoom.service",
                    "earlyoom"),
    "oomd": Row("systemd-oomd", "Debian's package (20 s), ManagedOOMMemoryPressure=kill at 50 % for php8.2-fpm.service and for "
                "system.slice", start_oomd, "systemd-oomd.service", "systemd-oomd"),
    "nohang": Row("nohang", "Debian's package, its defaults", lambda vm: start(vm, "nohang.service"), "nohang.service", "nohang"),
    "tuned": Row("hand-tuned unit", "php-fpm with MemoryMax=800M, MemoryHigh=700M, CPUWeight=50, TasksMax=300; ssh.service and its "
                 "slice with MemoryMin=64M", tune),
    "children80": Row("pm.max_children = 80", "the pool sized to the memory beforehand",
                      lambda vm: edit(vm, stack.POOL, "pm.max_children = 1000", "pm.max_children = 80"), pool_max=80),
    "timeout1": Row("connect timeout 1 s", "the application waits 1 s for its database, not 10",
                    lambda vm: edit(vm, "/srv/app/index.php", "DATABASE_WAIT_S = 10", "DATABASE_WAIT_S = 1")),
    "fail_fast": Row("pileguard, fail_fast", "rung 1 alone", unit=PILEGUARD, policy=guard.POLICY),
    "always": Row("pileguard, fail_fast: always", "rung 1 alone; dead is enough, whether anything is at risk is not asked",
                  unit=PILEGUARD, policy=guard.POLICY.replace("workers: prefork\n", "workers: prefork\n    fail_fast: always\n")),
    "shed": Row("pileguard, shed", "rung 2 alone, connections_max: 60", unit=PILEGUARD, policy=guard.SHED_POLICY),
    "throttle": Row("pileguard, throttle", "rung 3 alone, protect: [ssh.service, user.slice]", unit=PILEGUARD,
                    policy=guard.THROTTLE_POLICY),
    "evict": Row("pileguard, evict", "rung 4 alone", unit=PILEGUARD, policy=guard.EVICT_POLICY),
    "stop": Row("pileguard, stop", "rung 5 alone, stop_hold: 5s, cache_life: none", unit=PILEGUARD, policy=guard.STOP_POLICY),
    "ladder": Row("pileguard, 1, 2 and 4", "enforce: [fail_fast, shed, evict], connections_max: 60", unit=PILEGUARD,
                  policy=guard.SHED_POLICY.replace("[shed]", "[fail_fast, shed, evict]")),
}
