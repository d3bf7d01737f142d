# SPDX-License-Identifier: GPL-2.0-or-later
"""A php-fpm worker that takes all memory as fast as it can, in a pool that is static and warm (guest/later/app)."""
from . import guard, stack
from .machine import await_true
from .seen import out

FOLDER = "/var/lib/hog"
TAKER = f"{FOLDER}/taker"      # pid and the guest's wall clock, of the request that takes


def static_pool(vm, workers):
    """A static pool with the pages of guest/later, which may take memory by FFI."""
    lines = f"pm = static\npm.max_children = {workers}\nphp_admin_value[ffi.enable] = true\n"
    vm.ssh(f"sed -i '/^pm/d' {stack.POOL} && printf '{lines}' >> {stack.POOL}")
    allow(vm)


def allow(vm):
    """The page /hog, and where it writes down who takes."""
    vm.ssh(f"install -d -o www-data {FOLDER} && grep -q ffi.enable {stack.POOL} || "
           f"echo 'php_admin_value[ffi.enable] = true' >> {stack.POOL}")
    stack.place(vm, "/hog", "hog.php")


def answers(vm):
    return out(vm, "curl -s -m 5 http://127.0.0.1/hog || true").isdigit()


def restart(vm):
    out(vm, "systemctl reset-failed php8.2-fpm; systemctl restart php8.2-fpm nginx", timeout=90)
    await_true(lambda: answers(vm), 60, "the page answers", 0.5)


def known(vm, workers):
    """A worker is known to the guard once it was seen serving; half of them do."""
    await_true(lambda: len([w for w in guard.ask(vm, "workers") or [] if w["group"] == "www" and w["private_bytes"]])
               >= workers // 2, 90, "the workers are known", 1)


def take_all(vm, more=""):
    """The request that takes all: asked from within, its answer waited for by nobody."""
    out(vm, f"rm -f {TAKER}; systemd-run -q sh -c 'curl -s -m 60 \"http://127.0.0.1/hog?all=1{more}\"'")


def taker(text):
    """(pid, the guest's wall clock when it began), as the page wrote it; (None, None) when it wrote nothing."""
    words = (text or "").split()
    return (int(words[0]), float(words[1])) if len(words) == 2 else (None, None)


def evictions(vm):
    return [x for x in guard.explain_all(vm) if x["kind"] == "evict"]
