# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds and caches the guest's image from Debian's packages.

Two cached steps, each named by a hash of its recipe: the packages (a tar, a
minute or two) and the image (overlay, users, keys, ext4: some seconds).
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
GUEST = HERE / "guest"
CACHE = Path(os.environ.get("PILE_CACHE", "/var/cache/pileguard-vm"))
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
COPIED_LATER = (GUEST / "world", GUEST / "later")    # by their scenarios, into a guest that runs: no part of the image
DISK_BYTES = 4 << 30

# erms=off: with it, glibc and the kernel fill and copy memory by "rep stosb", which the emulator does byte by
# byte: 6 MiB cost 50-70 ms instead of 7-25, and the stack could not even refuse 40 requests a second.
# version -> (suite that has it besides the release's own, package, qemu's -cpu)
KERNELS = {
    "6.1": (None, "linux-image-cloud-amd64", "max,erms=off,la57=off"),
    # QEMU 7.2 emulates cmpxchg16b wrongly for this one: random oopses without cx16=off
    "6.12": ("bookworm-backports", "linux-image-cloud-amd64/bookworm-backports", "max,erms=off,la57=off,cx16=off"),
}

# what the initrd needs: without it, every driver would be packed and unpacked
INITRD_MODULES = ["virtio_pci", "virtio_blk", "ext4", "crc32c_generic"]


class ImageError(Exception):
    """The image could not be made; the text says what to do."""


@dataclass(frozen=True)
class Image:
    """Paths of one finished image."""
    kernel: str
    cpu: str
    folder: Path

    disk = property(lambda self: self.folder / "disk.qcow2")
    vmlinuz = property(lambda self: self.folder / "vmlinuz")
    initrd = property(lambda self: self.folder / "initrd")
    key = property(lambda self: self.folder / "client-key")
    known_hosts = property(lambda self: self.folder / "known_hosts")


def say(text):
    print(f"image: {text}", file=sys.stderr, flush=True)


def debian_sources(extra_suite=None):
    """This machine's own Debian sources, as apt has them, as one-line entries."""
    fields = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    listing = subprocess.run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
                             check=True, capture_output=True, text=True).stdout
    found = [line.split("|") for line in listing.splitlines()]
    entries = [(uri, suite, component) for origin, uri, suite, component in found
               if origin == "Debian" and suite.startswith("bookworm")]
    if not entries:
        raise ImageError("apt knows no Debian 12 packages: run 'apt-get update' first")
    if extra_suite:
        entries += [(uri, extra_suite, component) for uri, suite, component in entries if suite == "bookworm"]
    return [f"deb [signed-by={KEYRING}] {uri} {suite} {component}" for uri, suite, component in entries]


def package_list(kernel):
    lines = (GUEST / "packages").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")] + [KERNELS[kernel][1]]


def digest_of(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def base_digest(kernel):
    return digest_of(kernel, *package_list(kernel), *INITRD_MODULES)


def image_digest(kernel):
    files = sorted(path for path in GUEST.rglob("*") if path.is_file() and not set(COPIED_LATER) & set(path.parents))
    content = [f"{path.relative_to(GUEST)} {path.stat().st_mode & 0o777:o} "
               f"{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return digest_of(base_digest(kernel), str(DISK_BYTES), *content)


def run(command, log, **options):
    """Runs a command with its output in the log; the log's end is in the error."""
    with open(log, "ab") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        tail = "\n".join(Path(log).read_text(errors="replace").splitlines()[-15:])
        raise ImageError(f"{command[0]} failed ({done.returncode}), see {log}:\n{tail}")


def build_base(kernel, target, log):
    """Installs the packages into a new root file system, as a tar."""
    modules = "\\n".join(INITRD_MODULES)
    before = ("mkdir -p \"$1/etc/initramfs-tools/conf.d\" && "
              "echo MODULES=list >\"$1/etc/initramfs-tools/conf.d/test\" && "
              f"printf '{modules}\\n' >\"$1/etc/initramfs-tools/modules\"")
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", "--architectures=amd64",
               "--include=" + ",".join(package_list(kernel) + ["initramfs-tools", "zstd"]),
               "--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Check-Date \"false\"",
               "--aptopt=Acquire::Languages \"none\"",
               "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
               "--dpkgopt=path-exclude=/usr/share/doc/*", "--essential-hook=" + before,
               "bookworm", str(target)] + debian_sources(KERNELS[kernel][0])
    run(command, log)


def overlay(root, kernel_folder, log):
    """Lays our files over the root file system and makes users, units and keys."""
    shutil.copytree(GUEST / "overlay", root, dirs_exist_ok=True, symlinks=True)
    run(["chown", "-R", "root:root", f"{root}/srv", f"{root}/etc/sudoers.d", f"{root}/usr/local/sbin"], log)
    run(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", f"{root}/usr/local/sbin/pile-agent",
         str(GUEST / "agent.c")], log)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pile-vm", "-f", str(kernel_folder / "client-key")], log)
    shutil.copy(kernel_folder / "client-key.pub", f"{root}/etc/pile-client-key.pub")
    shutil.copy(GUEST / "customize", f"{root}/root/customize")
    run(["chroot", str(root), "/root/customize"], log)
    run(["ssh-keygen", "-q", "-A", "-f", str(root)], log)
    host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    (kernel_folder / "known_hosts").write_text(f"pile-vm {host_key[0]} {host_key[1]}\n")


def extract_kernel(root, folder):
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        found = sorted((root / "boot").glob(pattern))
        if len(found) != 1:
            raise ImageError(f"{len(found)} files match /boot/{pattern} in the image, 1 expected")
        shutil.copy(found[0], folder / name)


def build_image(base, folder, work, log):
    """Turns the tar into a bootable disk, and keeps kernel, initrd and keys beside it."""
    root = work / "root"
    root.mkdir()
    run(["tar", "-C", str(root), "-xf", str(base), "--numeric-owner"], log)
    overlay(root, folder, log)
    extract_kernel(root, folder)
    raw = work / "disk.raw"
    raw.touch()
    os.truncate(raw, DISK_BYTES)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", str(root), str(raw)], log)
    run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(folder / "disk.qcow2")], log)


def remove_older(prefix, keep):
    """Removes cached files of older recipes; running machines keep theirs open."""
    for path in CACHE.glob(prefix + "*"):
        if path == keep or path.name.endswith(".log"):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def build(kernel="6.1"):
    """Returns the image of this recipe, made now if the cache has none."""
    if kernel not in KERNELS:
        raise ImageError(f"no kernel {kernel}: one of {', '.join(KERNELS)}")
    folder = CACHE / f"image-{kernel}-{image_digest(kernel)}"
    image = Image(kernel, KERNELS[kernel][2], folder)
    if folder.exists():
        return image
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build_both(kernel, folder)
    return image


def build_both(kernel, folder):
    """Makes the tar of packages if it is missing, then the image in folder."""
    log = CACHE / f"build-{kernel}.log"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="work-", dir=CACHE) as name:
        work = Path(name)
        base = CACHE / f"base-{kernel}-{base_digest(kernel)}.tar"
        if not base.exists():
            say(f"installing {len(package_list(kernel))} packages and what they need (log: {log})")
            build_base(kernel, work / "base.tar", log)
            os.rename(work / "base.tar", base)
            remove_older(f"base-{kernel}-", base)
        say("laying the stack over it and making the disk")
        (work / "image").mkdir()
        build_image(base, work / "image", work, log)
        os.rename(work / "image", folder)
        remove_older(f"image-{kernel}-", folder)
    say(f"{folder} made in {time.monotonic() - started:.0f} s")
