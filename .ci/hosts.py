#!/usr/bin/env python3
"""Trains on two hosts made of network namespaces: 4 ranks, 2 on each.

    sudo .ci/hosts.py target/debug/regraft

The hosts have names and network devices of their own. They are connected by a pair of virtual devices or, for a delay, by a relay that
reads packets from a TUN device and writes them to another 20 ms later; `tc netem` is not part of every kernel. Three runs: without a
delay and with one, both of which must give the weights of one process with four engines to the bit; and one whose link is taken away,
all ranks of which must end within 30 seconds with a message that names one. Says SKIPPED, with the reason, if the system allows no
namespaces.
"""

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import pathlib
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ADDRESSES = {"regraft-a": "10.77.0.1", "regraft-b": "10.77.0.2"}
DELAY = 0.02
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
TRAIN = "train photos --image-size 32 --freeze none --head new --lr 3e-3 --batch-size 10 --workers 1 --no-report --seed 1".split()


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(0)


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def inside(host):
    return ["ip", "netns", "exec", host]


def remove_hosts():
    for host in ADDRESSES:
        for process in ip("netns", "pids", host, check=False).stdout.split():
            with contextlib.suppress(OSError):
                os.kill(int(process), signal.SIGKILL)
        ip("netns", "del", host, check=False)


@contextlib.contextmanager
def hosts(delay):
    """Two hosts and what connects them; gives a function that cuts the connection."""
    remove_hosts()
    relay = None
    try:
        for host in ADDRESSES:
            ip("netns", "add", host)
            ip("-n", host, "link", "set", "lo", "up")
        if delay:
            relay = Relay()
        else:
            ip("link", "add", "regraft0", "netns", "regraft-a", "type", "veth", "peer", "name", "regraft0", "netns", "regraft-b")
        for host, address in ADDRESSES.items():
            ip("-n", host, "addr", "add", f"{address}/24", "dev", "regraft0")
            ip("-n", host, "link", "set", "regraft0", "up")
        yield lambda: ip("-n", "regraft-b", "link", "set", "regraft0", "down")
    finally:
        if relay:
            relay.stop()
        remove_hosts()


class Relay:
    """Passes packets between the hosts' TUN devices, each after the delay."""

    def __init__(self):
        self.files = [self.open_in(host) for host in ADDRESSES]
        self.stopped, self.wake = os.pipe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @staticmethod
    def open_in(host):
        """A TUN device of a host. The file stays open when this thread is back in its own namespace."""
        library = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{host}") as other:
            if library.setns(other.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot enter the namespace")
            try:
                file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", b"regraft0", IFF_TUN | IFF_NO_PI))
            finally:
                library.setns(own.fileno(), CLONE_NEWNET)
        return file

    def run(self):
        waiting, number = [], 0
        while True:
            limit = max(0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self.files, self.stopped], [], [], limit)
            if self.stopped in ready:
                return
            for file in ready:
                with contextlib.suppress(BlockingIOError, OSError):
                    packet = os.read(file, 65536)
                    heapq.heappush(waiting, (time.monotonic() + DELAY, number, self.files[file == self.files[0]], packet))
                    number += 1
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(waiting)
                # A device that is down takes nothing.
                with contextlib.suppress(BlockingIOError, OSError):
                    os.write(to, packet)

    def stop(self):
        os.write(self.wake, b"x")
        self.thread.join()
        for file in [*self.files, self.stopped, self.wake]:
            os.close(file)


def agent(folder):
    """The program that mpirun starts on another host, in place of ssh."""
    path = folder / "agent"
    path.write_text(
        "#!/bin/sh\n"
        "# agent ADDRESS COMMAND...\n"
        "case $1 in\n" + "".join(f"{address}) host={host};;\n" for host, address in ADDRESSES.items()) + "esac\n"
        "shift\n"
        'exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"\n'
    )
    path.chmod(0o755)
    return path


def environment(folder):
    return {
        **os.environ,
        "REGRAFT_CACHE": str(folder / "cache"),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_plm_rsh_agent": str(agent(folder)),
        "OMPI_MCA_oob_tcp_if_include": "10.77.0.0/24",
        "OMPI_MCA_btl_tcp_if_include": "10.77.0.0/24",
        "OMPI_MCA_btl": "tcp,vader,self",
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }


def mpirun(folder, program, words):
    """Starts 4 ranks from the first host."""
    listed = ",".join(f"{address}:2" for address in ADDRESSES.values())
    job = ["mpirun", "--oversubscribe", "--host", listed, "-np", "4", "--wdir", str(folder), *map(str, [program, *words])]
    first = next(iter(ADDRESSES))
    command = [*inside(first), "unshare", "--uts", "sh", "-c", f'hostname {first}; exec "$@"', "sh", *job]
    # Into files: whoever is left on a host that is cut off would keep a pipe open.
    with (folder / "stdout").open("w") as output, (folder / "stderr").open("w") as errors:
        return subprocess.Popen(command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=output, stderr=errors)


def tensors(run):
    """The tensors of a model file: their description and their bytes, without the metadata."""
    content = (run / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, content[8 + length :]


def photos(folder):
    for part, source, places in [("train", "train", slice(0, 9)), ("test", "test", slice(0, 3))]:
        for name in ["bag", "trouser", "coat"]:
            into = folder / "photos" / part / name
            into.mkdir(parents=True)
            for path in sorted((ROOT / "sample/fashion" / source / name).iterdir())[places]:
                shutil.copy(path, into)


def processes(folder):
    """The processes of regraft that still run in the folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == "regraft" and os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
    return found


def trained(folder, program, name, delay, expected):
    with hosts(delay):
        began = time.monotonic()
        job = mpirun(folder, program, [*TRAIN, "--epochs", "2", "--output", name])
        job.wait(timeout=150)
        output, errors = (folder / "stdout").read_text(), (folder / "stderr").read_text()
        assert job.returncode == 0, f"{output}\n{errors}"
        assert "4 ranks on 2 machines" in output, output
        assert tensors(folder / name) == expected, f"{name}: other weights than those of one process"
        print(f"{name}: the weights of one process, in {time.monotonic() - began:.1f} s")


def cut(folder, program):
    with hosts(delay=False) as cut_link:
        job = mpirun(folder, program, [*TRAIN, "--epochs", "1000", "--schedule", "constant", "--output", "cut"])
        began = time.monotonic()
        metrics = folder / "cut/metrics.csv"
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 4:
            assert time.monotonic() - began < 100 and job.poll() is None, "the run did not begin"
            time.sleep(0.1)
        cut_link()
        began = time.monotonic()
        while processes(folder) and time.monotonic() - began < 30:
            time.sleep(0.1)
        seconds = time.monotonic() - began
        left = processes(folder)
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        # mpirun itself waits for the other host's answer until TCP gives up, which takes 15 minutes by default.
        job.kill()
        job.wait()
        errors = (folder / "stderr").read_text()
        assert not left, f"{len(left)} ranks were left after 30 s:\n{errors}"
        assert "error: rank " in errors and "no sign of life" in errors, errors
        named = next(line for line in errors.splitlines() if "no sign of life" in line)
        print(f"without a link: all ranks ended after {seconds:.1f} s: {named}")
    epochs = len(metrics.read_text().splitlines()) + 1
    words = [program, "train", "--resume", "cut", "--epochs", str(epochs), "--no-report"]
    resumed = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    notes = json.loads((folder / "cut/summary.json").read_text())["notes"]
    assert any("began with 4 ranks and continues with 1 rank" in note for note in notes), notes


def main():
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/regraft").resolve()
    if os.geteuid() != 0:
        skip("network namespaces need root")
    for needed in ["ip", "unshare", "mpirun"]:
        if shutil.which(needed) is None:
            skip(f"there is no {needed}")
    name = f"regraft{random.randrange(10**6)}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        skip(f"this system makes no network namespaces: {error.stderr.strip()}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        photos(folder)
        alone = [program, *TRAIN, "--epochs", "2", "--device", "cpu*4", "--output", "alone"]
        subprocess.run(alone, cwd=folder, env=environment(folder), check=True, capture_output=True)
        expected = tensors(folder / "alone")
        trained(folder, program, "hosts", False, expected)
        if pathlib.Path("/dev/net/tun").exists():
            trained(folder, program, "delay", True, expected)
        else:
            print("SKIPPED: the run with a delay, because there is no /dev/net/tun")
        cut(folder, program)


if __name__ == "__main__":
    main()
