# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's stack, used and broken by commands in the guest."""
from pathlib import Path

from .seen import out

LATER = Path(__file__).resolve().parent.parent / "guest/later"
POOL = "/etc/php/8.2/fpm/pool.d/www.conf"
FPM_SOCKET = "/run/php/php8.2-fpm.sock"

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


def bring(vm):
    """Pages and units that some scenarios put into a guest that runs: guest/later."""
    vm.copy_in(LATER, "/root/later")
    vm.ssh("cp /root/later/app/*.php /srv/app/ && cp /root/later/*.service /run/systemd/system/ && systemctl daemon-reload")


def place(vm, path, page, pool_socket=FPM_SOCKET):
    """From nginx's next start on, path is this page of /srv/app."""
    line = (f"location {path} {{ include fastcgi_params; fastcgi_param SCRIPT_FILENAME /srv/app/{page}; "
            f"fastcgi_pass unix:{pool_socket}; }}\\n")
    vm.ssh(f"sed -i 's|^.*location / {{|{line}&|' /etc/nginx/nginx.conf")
