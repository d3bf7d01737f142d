# SPDX-License-Identifier: GPL-2.0-or-later
"""phpstack.py: nginx and php-fpm on free ports and paths of a test's own, each in a cgroup of its own."""
import os
import shutil
import signal
import socket
import subprocess
import unittest

from guardlib import free_port, until

FPM = "php-fpm8.2"

POOL = """
[{name}]
user = nobody
group = nogroup
listen = {listen}
listen.mode = 0666
pm = static
pm.max_children = {workers}
"""

LOCATION = """
    upstream {name} {{ server {server}; {keep} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            fastcgi_pass {name};
            fastcgi_keep_conn {on};
            fastcgi_param SCRIPT_FILENAME {script};
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param CONTENT_TYPE $content_type;
        }}
        location = /plain {{ return 200 "plain\\n"; }}
    }}
"""

NGINX = """
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {dir}/body;
    fastcgi_temp_path {dir}/fastcgi;
    proxy_temp_path {dir}/proxy;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    {locations}
}}
"""


def connects(target):
    family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
    with socket.socket(family) as s:
        return s.connect_ex(target) == 0


class Stack:
    """`ports`: (transport, kept) -> HTTP port, for transport in unix, tcp; kept: fastcgi_keep_conn."""

    def __init__(self, world, workers=4, script="<?php echo 'hello';"):
        for program in (FPM, "nginx"):
            if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
                raise unittest.SkipTest(f"{program} is not installed")
        self.dir, self.world = world.dir, world
        self.script = f"{self.dir}/index.php"
        with open(self.script, "w", encoding="utf-8") as f:
            f.write(script)
        os.chmod(self.script, 0o644)
        self.unix, self.tcp = f"{self.dir}/fpm.sock", free_port()
        self.ports = {(t, k): free_port() for t in ("unix", "tcp") for k in (False, True)}
        self.write(workers)
        self.fpm = self.start("php", [FPM, "-n", "-F", "-O", "-R", "-y", f"{self.dir}/fpm.conf"])
        self.nginx = self.start("nginx", ["nginx", "-c", f"{self.dir}/nginx.conf", "-e", f"{self.dir}/nginx.log"])
        for target in (self.unix, ("127.0.0.1", self.tcp), *(("127.0.0.1", p) for p in self.ports.values())):
            until(lambda t=target: connects(t), 10, f"{target} answers")
        world.ends.append(self)

    def write(self, workers):
        with open(f"{self.dir}/fpm.conf", "w", encoding="utf-8") as f:
            f.write(f"[global]\nerror_log = {self.dir}/fpm.log\n")
            f.write(POOL.format(name="unix", listen=self.unix, workers=workers))
            f.write(POOL.format(name="tcp", listen=f"127.0.0.1:{self.tcp}", workers=workers))
        locations = ""
        for (transport, kept), port in self.ports.items():
            server = f"unix:{self.unix}" if transport == "unix" else f"127.0.0.1:{self.tcp}"
            locations += LOCATION.format(name=f"{transport}_{'kept' if kept else 'fresh'}", server=server, port=port,
                                         keep="keepalive 4;" if kept else "", on="on" if kept else "off",
                                         script=self.script)
        with open(f"{self.dir}/nginx.conf", "w", encoding="utf-8") as f:
            f.write(NGINX.format(dir=self.dir, locations=locations))

    def start(self, name, argv):
        cgroup = self.world.cgroup(name)

        def enter():
            with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as f:
                f.write("0")
        with open(f"{self.dir}/{name}.out", "w", encoding="utf-8") as out:
            return subprocess.Popen(argv, preexec_fn=enter, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def end(self):
        for p in (self.nginx, self.fpm):
            p.send_signal(signal.SIGQUIT)   # both: gracefully
        for p in (self.nginx, self.fpm):
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
