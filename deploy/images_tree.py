"""File trees of the stand-ins: programs of this machine with the libraries that `ldd` lists."""

from __future__ import annotations

import glob
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

COREUTILS = """
[ arch b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dir dirname du echo
env expand expr factor false fmt fold groups head hostid id install join link ln logname ls md5sum mkdir mkfifo
mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv printf ptx pwd readlink realpath rm rmdir
seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail
tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink users wc who whoami yes
"""
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"


class NotInstalled(Exception):
    """Error for a program that a stand-in needs and this machine lacks; the message tells what to install."""


class Tree:
    """Files, links and directories of an image. Adding a file twice is the same as adding it once."""

    def __init__(self) -> None:
        self._files: dict[str, Path | bytes] = {"/etc/passwd": _PASSWD, "/etc/group": _GROUP}
        self._files["/etc/nsswitch.conf"] = b"hosts: files dns\n"
        self._links: dict[str, str] = {}
        self._folders = {"/tmp": 0o1777, "/root": 0o700, "/var": 0o755, "/var/tmp": 0o1777, "/home": 0o755}

    def add_program(self, path: str, place: str) -> None:
        """Add a program at `place`, and its libraries at their paths on this machine."""
        self._files[place] = Path(path).resolve()
        for library in _libraries(path):
            self.add_file(library)

    def add_file(self, path: str) -> None:
        """Add a file of this machine at its own path; a symbolic link is followed."""
        self._files[path] = Path(path).resolve()

    def add_link(self, place: str, target: str) -> None:
        """Add a symbolic link."""
        self._links[place] = target

    def drop_link(self, place: str) -> None:
        """Remove a link, so that a file can take its place."""
        self._links.pop(place, None)

    def write(self, file: Path) -> None:
        """Write the tree as a tar file."""
        with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
            for folder in sorted(self._all_folders()):
                info = tarfile.TarInfo(folder.lstrip("/"))
                info.type, info.mode = tarfile.DIRTYPE, self._folders.get(folder, 0o755)
                tar.addfile(info)
            for place, source in sorted(self._files.items()):
                data = source if isinstance(source, bytes) else source.read_bytes()
                info = tarfile.TarInfo(place.lstrip("/"))
                info.size, info.mode = len(data), 0o644 if isinstance(source, bytes) else 0o755
                tar.addfile(info, io.BytesIO(data))
            for place, target in sorted(self._links.items()):
                info = tarfile.TarInfo(place.lstrip("/"))
                info.type, info.linkname = tarfile.SYMTYPE, target
                tar.addfile(info)

    def _all_folders(self) -> set[str]:
        folders = set(self._folders)
        for place in (*self._files, *self._links):
            folders.update(str(parent) for parent in Path(place).parents if str(parent) != "/")
        return folders


def busybox(own_wget: bool = True) -> Tree:
    """Return the tree of busybox with a link per applet; with GNU wget if `own_wget` is False."""
    tree, program = Tree(), _path_of("busybox")
    tree.add_program(program, "/bin/busybox")
    # A static glibc program loads these to resolve a host name.
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2", "libc.so.6", "ld-linux-*.so.*"):
        for pattern in ("/lib/*-linux-gnu/", "/lib64/", "/usr/lib/", "/lib/"):
            for library in glob.glob(pattern + name):
                tree.add_file(library)
    for applet in _output([program, "--list"]).split():
        # The list includes busybox itself: that link would hide the program.
        if applet != "busybox":
            tree.add_link(f"/bin/{applet}", "busybox")
    tree.add_link("/usr/bin/env", "/bin/busybox")
    if not own_wget:
        tree.drop_link("/bin/wget")
        # Debian's busybox sh prefers its own applets to the PATH: its scripts would not call GNU wget.
        tree.drop_link("/bin/sh")
        tree.add_program(shutil.which("dash") or _path_of("bash"), "/bin/sh")
        tree.add_program(_path_of("wget"), "/bin/wget")
    return tree


def bash() -> Tree:
    """Return the tree of bash, also as sh, and the coreutils."""
    tree = Tree()
    tree.add_program(_path_of("bash"), "/bin/bash")
    tree.add_link("/bin/sh", "bash")
    for name in COREUTILS.split():
        if path := shutil.which(name):
            tree.add_program(path, f"/usr/bin/{name}")
            tree.add_link(f"/bin/{name}", f"/usr/bin/{name}")
    for name in ("grep", "sed"):
        if path := shutil.which(name):
            tree.add_program(path, f"/bin/{name}")
    return tree


def ffmpeg() -> Tree:
    """Return the tree of ffmpeg with its libraries, without a shell, as in the real image."""
    tree = Tree()
    tree.add_program(_path_of("ffmpeg"), "/bin/ffmpeg")
    if os.path.exists("/etc/ld.so.cache"):
        tree.add_file("/etc/ld.so.cache")
    return tree


def _path_of(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NotInstalled(f"{program} is not installed: install it, then run this again")
    return path


def _libraries(path: str) -> list[str]:
    """Return what the dynamic linker would load: nothing for a static program or a script."""
    text = _output(["ldd", path])
    return re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", text, re.MULTILINE)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
