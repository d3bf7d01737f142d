# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's stack, used and broken by commands in the guest."""
from .seen import out

DATABASE = "10.9.0.2:3306"
IN_DB = "ip netns exec db iptables"
LOSE = f"{IN_DB} -I INPUT -p tcp --dport 3306 -j DROP"
RETURN = f"{IN_DB} -D INPUT -p tcp --dport 3306 -j DROP"
AUTH = "curl -s -m 30 -w ' %{http_code} %{time_total}' http://localhost/auth"
COLD = "curl -s -m 30 http://localhost/admin/online >/dev/null"


def auth(vm):
    """(status, seconds) of an authenticated request that finds its cache cold."""
    said = out(vm, f"{COLD}; {AUTH}", timeout=60).rsplit(None, 2)
    return int(said[-2]), float(said[-1])
