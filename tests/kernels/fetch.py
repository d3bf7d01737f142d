# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernels for the matrix, taken apart, never installed; cached beside the images of tests/vm.

From this machine's own apt sources, with lists of our own: the suite's name is exchanged.
"""
import fcntl
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pilevm import image

FRESH_S = 14 * 86400    # a suite's newest kernel is looked for again after so long
# version -> (suite, qemu's -cpu); which it really is, the guest says
KERNELS = {
    "6.1": ("bookworm", "max,erms=off,la57=off"),
    "6.12": ("bookworm-backports", "max,erms=off,la57=off,cx16=off"),   # why cx16=off: pilevm/image.py
    "7.x": ("sid", "max,erms=off,la57=off"),
}
META = "linux-image-cloud-amd64"
DRIVERS = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")


@dataclass(frozen=True)
class Kernel:
    name: str
    cpu: str
    folder: Path

    vmlinuz = property(lambda self: self.folder / "vmlinuz")
    initrd = property(lambda self: self.folder / "initrd")
    modules = property(lambda self: self.folder / "modules.ext4")


class Unavailable(image.ImageError):
    """Debian's archive did not give the kernel."""


def apt(folder, suite):
    """The words that every apt command begins with: nothing of this machine's apt is touched."""
    sources = [entry for entry in image.debian_sources(suite) if f" {suite} " in entry or
               (suite == "bookworm" and " bookworm" in entry)]
    (folder / "sources.list").write_text("\n".join(sources) + "\n")
    (folder / "status").touch()
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::Etc::SourceList={folder}/sources.list", "-o", "Dir::Etc::SourceParts=-",
            "-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache", "-o", f"Dir::State::Status={folder}/status",
            "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "APT::Architecture=amd64",
            "-o", "Acquire::Check-Valid-Until=false"]


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise image.ImageError(f"{command[0]} failed ({done.returncode}): {(done.stderr or done.stdout)[-400:]}")
    return done.stdout


def wanted(words):
    """The packages that the newest kernel is in: what the meta package depends on, and so on."""
    found, left = [], [META]
    while left:
        name = left.pop()
        found.append(name)
        said = run(["apt-cache", *words, "depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
                    "--no-replaces", "--no-enhances", name])
        left += [one for one in re.findall(r"Depends: (linux-(?:image|binary|modules)-\S+)", said)
                 if one not in found and one not in left]
    return found[1:]


def unpack(folder, words):
    for name in wanted(words):
        run(["apt-get", *words, "download", name], cwd=folder)
    for package in folder.glob("*.deb"):
        run(["dpkg", "-x", str(package), str(folder / "root")])


def one_of(folder, *patterns):
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    raise image.ImageError(f"none of {patterns} in the kernel's packages")


def plain(path, target):
    """A module without its compression: busybox and 6.1 know none."""
    if path.suffix == ".xz":
        target.write_bytes(lzma.decompress(path.read_bytes()))
    elif path.suffix == ".zst":
        run(["zstd", "-q", "-d", "-f", "-o", str(target), str(path)])
    else:
        shutil.copy(path, target)


def drivers(modules):
    """Paths of what the initramfs needs, in an order that works."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, rest = line.split(":")
        needs[re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")] = [path, *rest.split()]
    order = []

    def add(path):
        for one in needs[re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")][1:][::-1]:
            if one not in order:
                add(one)
        if path not in order:
            order.append(path)

    for name in DRIVERS:
        if name in needs:       # else built in
            add(needs[name][0])
    return order


def initrd_make(folder, modules, busybox, target):
    root = folder / "initrd"
    for name in ("bin", "dev", "new", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(Path(__file__).parent / "boot", root / "init")
    os.chmod(root / "init", 0o755)
    order = []
    for path in drivers(modules):
        order.append(re.sub(r"\.ko.*", ".ko", os.path.basename(path)))
        plain(modules / path, root / "modules" / order[-1])
    (root / "modules/order").write_text("".join(f"{name}\n" for name in order))
    with open(target, "wb") as out:
        listing = subprocess.run(["find", ".", "-mindepth", "1"], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=listing, stdout=out, check=True)


def disk_make(source, target, mib):
    """An ext4 file system of a directory."""
    with open(target, "wb") as out:
        out.truncate(mib << 20)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(source), str(target)])


def make(name, suite, target):
    """Fetches the suite's newest kernel and puts it in the target's place."""
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=image.CACHE) as work:
        work = Path(work)
        try:
            words = apt(work, suite)
            run(["apt-get", *words, "update"])
            unpack(work, words)
        except image.ImageError as error:
            raise Unavailable(f"{name}: {suite}'s kernel cannot be fetched: {error}") from None
        modules = one_of(work / "root", "lib/modules/*", "usr/lib/modules/*")
        if not (modules / "modules.dep").exists():
            run(["depmod", "-b", str(modules.parents[2]), modules.name])
        made = work / "made"
        made.mkdir()
        shutil.copy(one_of(work / "root", "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"), made / "vmlinuz")
        initrd_make(work, modules, "/bin/busybox", made / "initrd")
        (work / "modules" / modules.name).parent.mkdir()
        shutil.copytree(modules, work / "modules" / modules.name, symlinks=False, ignore=shutil.ignore_patterns("build", "source"))
        disk_make(work / "modules", made / "modules.ext4", 512)
        for older in target.parent.glob(f"{name}-*"):
            shutil.rmtree(older)
        os.rename(made, target)
        os.utime(target)


def kernel(name, fresh=False):
    """From the cache; fetched now if it has none of the last days. One that is older is taken where nothing can be fetched."""
    suite, cpu = KERNELS[name]
    target = image.CACHE / "kernels" / f"{name}-{image.digest_of((Path(__file__).parent / 'boot').read_text(), *DRIVERS)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(image.CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists() or fresh or time.time() - target.stat().st_mtime >= FRESH_S:
            try:
                make(name, suite, target)
            except Unavailable as error:
                if not target.exists():
                    raise
                image.say(f"{error}; the one of {time.strftime('%Y-%m-%d', time.gmtime(target.stat().st_mtime))} is taken")
    return Kernel(name, cpu, target)
