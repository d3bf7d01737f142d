# SPDX-License-Identifier: GPL-2.0-or-later
"""One throwaway machine: boots an overlay of an image under emulation, speaks ssh with it."""
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import image as images

SSH_READY_S = 180       # boots take 10-25 s on an idle host, more on a busy one
TURN_S = 2400           # the longest scenario is a quarter of an hour of outage and its surroundings
STOP_S = 40             # orderly shutdown, then the process is ended
WEB_PORTS = 16          # forwards to port 80: each listens with a backlog of 1 only
COMMAND_LINE = "root=/dev/vda rw console=ttyS0 psi=1 net.ifnames=0 loglevel=4 panic=-1 mitigations=off tsc=reliable"


class MachineError(Exception):
    """The machine did not do what was asked in its time."""


def free_ports(count):
    """Ports of the loopback address that nobody uses at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def await_true(condition, deadline_s, what, interval_s=0.2):
    """Calls condition until it is true; MachineError after deadline_s seconds."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise MachineError(f"{what}: not within {deadline_s} s")
        time.sleep(interval_s)


class Machine:
    """A machine in a folder of its own: state.json, serial.log, overlay, sockets."""

    def __init__(self, folder, state):
        self.folder = Path(folder)
        self.state = state
        self.ssh_port, self.banner_port, self.login_port = state["ssh_ports"]
        self.web_ports = state["web_ports"]
        self.process = self.command = None

    # -- life ---------------------------------------------------------------

    @classmethod
    def start(cls, image, folder, memory_mb=1536, cpus=2, append="", cache="unsafe"):
        """Starts qemu on a fresh overlay; does not wait for the guest. cache: "writeback" keeps what the guest has flushed, whatever
        happens to qemu; "unsafe" is faster."""
        folder = Path(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image.disk),
                        str(folder / "overlay.qcow2")], check=True)
        for path in (image.key, image.known_hosts):
            shutil.copy(path, folder)   # a newer recipe may remove the image while we run
        ports = free_ports(3 + WEB_PORTS)
        state = {"ssh_ports": ports[:3], "web_ports": ports[3:], "kernel": image.kernel, "booted_at": time.monotonic()}
        machine = cls(folder, state)
        machine.command = machine.qemu_command(image, memory_mb, cpus, append, cache)
        machine.run()
        return machine

    def run(self):
        """Starts qemu: the first time, or again on the same disk."""
        with open(self.folder / "qemu.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            start_new_session=True)
        self.state |= {"pid": self.process.pid, "booted_at": time.monotonic()}
        (self.folder / "state.json").write_text(json.dumps(self.state))

    @classmethod
    def attach(cls, folder):
        """The machine that an earlier command left running in folder."""
        try:
            return cls(folder, json.loads((Path(folder) / "state.json").read_text()))
        except FileNotFoundError:
            raise MachineError(f"no machine in {folder}") from None

    def qemu_command(self, image, memory_mb, cpus, append, cache):
        forwards = "user,id=net,restrict=on" + "".join(
            f",hostfwd=tcp:127.0.0.1:{port}-:{guest}"
            for guest, ports in ((22, self.state["ssh_ports"]), (80, self.web_ports)) for port in ports)
        # a little before the host's other work: the guest's clock runs on, whoever has the cores
        return ["nice", "-n", "-5", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", image.cpu, "-smp", str(cpus),
                "-m", str(memory_mb), "-name", "pileguard,debug-threads=on", "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", str(image.vmlinuz), "-initrd", str(image.initrd), "-append", f"{COMMAND_LINE} {append}",
                "-drive", f"file={self.folder}/overlay.qcow2,if=virtio,format=qcow2,cache={cache}",
                "-netdev", forwards, "-device", "virtio-net-pci,netdev=net,romfile=",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", f"socket,id=agent,path={self.folder}/agent.sock,server=on,wait=off",
                "-device", "virtserialport,chardev=agent,name=pile.agent",
                "-serial", f"file:{self.folder}/serial.log",
                "-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off"]

    def is_running(self):
        """Whether our own qemu, told by its pid and its folder, still lives."""
        if self.process is not None:
            return self.process.poll() is None
        try:
            return str(self.folder).encode() in Path(f"/proc/{self.state['pid']}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def ready(self, deadline_s=SSH_READY_S):
        """Waits until a command runs over ssh; returns the seconds since the start."""
        def answers():
            if not self.is_running():
                raise MachineError(f"qemu ended: see {self.folder}/qemu.log and serial.log")
            return self.ssh("true", check=False, timeout=20).returncode == 0
        await_true(answers, deadline_s, f"ssh (see {self.folder}/serial.log)", 0.5)
        return time.monotonic() - self.state["booted_at"]

    def stop(self):
        """Asks for an orderly shutdown by the power button, then ends our qemu."""
        if self.is_running():
            try:
                self.qmp("system_powerdown")
                await_true(lambda: not self.is_running(), STOP_S, "shutdown")
            except (MachineError, OSError):
                self.kill()

    def kill(self):
        """Ends our qemu at once, the guest unasked; what it wrote is kept."""
        if not self.is_running():
            return
        os.kill(self.state["pid"], signal.SIGTERM)
        try:
            await_true(lambda: not self.is_running(), 10, "end of qemu")
        except MachineError:
            os.kill(self.state["pid"], signal.SIGKILL)
            await_true(lambda: not self.is_running(), 10, "end of qemu")

    def cut(self):
        """Ends our qemu as a power cut would end a machine: what was not flushed is lost."""
        os.kill(self.state["pid"], signal.SIGKILL)
        self.process.wait()

    def remove(self):
        """Stops the machine if it runs, and removes what it left on the disk."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def qmp(self, command):
        """Sends one command to qemu's monitor."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.folder / "qmp.sock"))
            stream = sock.makefile("rw")
            stream.readline()
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}) + "\n")
                stream.flush()
                stream.readline()

    # -- ssh ----------------------------------------------------------------

    def ssh_command(self, user="root", words=(), port=None):
        """The words of an ssh command; logins under test have a forwarded port of their own."""
        return ["ssh", "-i", str(self.folder / "client-key"), "-p", str(port or self.ssh_port), "-F", "none",
                "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "HostKeyAlias=pile-vm",
                "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "LogLevel=ERROR",
                f"{user}@127.0.0.1", *words]

    def ssh(self, command, user="root", check=True, timeout=60, **options):
        """Runs a shell command in the guest; returns the CompletedProcess, with text output."""
        options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL} | options
        if "input" in options:
            options.pop("stdin")
        try:
            done = subprocess.run(self.ssh_command(user, [command]), timeout=timeout, **options)
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(command, 255, "", f"no end within {timeout} s")
        if check and done.returncode:
            raise MachineError(f"in the guest: {command!r} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def copy_in(self, source, target, excludes=(".git",), timeout=120):
        """Copies a tree of the host into a folder of the guest, as a tar over ssh."""
        words = " ".join(f"--exclude={shlex.quote(name)}" for name in excludes)
        command = (f"tar -C {shlex.quote(str(source))} {words} -cf - . | "
                   + shlex.join(self.ssh_command("root", [f"mkdir -p {target} && tar -C {target} --no-same-owner "
                                                          "-xpf -"])))
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True,
                              timeout=timeout)
        if done.returncode:
            raise MachineError(f"copying {source} into the guest: {done.stderr}")

    def copy_out(self, source, target, timeout=60):
        """Copies one file of the guest to the host."""
        done = self.ssh(f"cat {shlex.quote(source)}", timeout=timeout, text=False)
        Path(target).write_bytes(done.stdout)


@contextlib.contextmanager
def turn(alone):
    """Holds this host's turn: a scenario runs alone, commands beside each other, neither beside the other; who came first is first."""
    images.CACHE.mkdir(parents=True, exist_ok=True)
    kind, taken = fcntl.LOCK_EX if alone else fcntl.LOCK_SH, threading.Event()
    with open(images.CACHE / "turn", "w") as lock:
        def take():
            fcntl.flock(lock, kind)     # the kernel's queue: whoever asks now and then would wait behind all others
            taken.set()
        threading.Thread(target=take, daemon=True).start()
        if not taken.wait(1):
            print("vm: waiting for another run on this host", file=sys.stderr, flush=True)
            if not taken.wait(TURN_S):
                raise MachineError(f"not within {TURN_S} s: end of another run on this host")
        yield


def boot(kernel="6.1", name=None, **options):
    """Builds the image if need be, starts a machine and waits until ssh works."""
    image = images.build(kernel)
    folder = images.CACHE / "run" / (name or f"vm-{os.getpid()}")
    machine = Machine.start(image, folder, **options)
    try:
        machine.ready()
    except BaseException:
        machine.kill()
        raise
    return machine
