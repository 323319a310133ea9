"""Measures how training scales over processes on this machine, and predicts how it scales over many.

    pip install torch pillow numpy
    cargo build --release --features mpi
    python bench/scaling.py                        # ResNet-18 at a global batch of 64; some minutes on two cores
    python bench/scaling.py --images 64 --image-size 64 --rounds 1 --without-torch   # only tries the script

Trains ResNet-18 from scratch on images that the script makes: one process with `--threads 2`, `mpirun -np 2` with one core each, and
torchrun with DistributedDataParallel on gloo with the same two processes, in turn, `--rounds` times. PyTorch's images are in memory
already; Regraft decodes its own once and keeps them (`--cache-images`). Speeds are medians of each run's last epoch. Prints
Markdown: images/s; bytes, seconds and overlap of the sums; and what a model of bandwidth and latency predicts for more ranks.
Figures mean something only on an idle machine.
"""

import argparse
import csv
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"
BATCH = 64
# Parameters of ResNet-18 with ten classes, in bytes of f32.
GRADIENT = 4 * 11_181_642
# Networks for the prediction: bytes a second that a machine sends, and seconds that a message takes.
NETWORKS = {"10 Gbit/s Ethernet": (1.1e9, 25e-6), "25 Gbit/s Ethernet": (2.8e9, 15e-6), "100 Gbit/s InfiniBand": (11e9, 2e-6)}
# The share of a step's computation that is the backward pass, during which sums travel.
BACKWARD = 2 / 3
TRAFFIC = re.compile(r"(\d+) sums of gradients, ([\d.]+) MB sent by rank 0; ([\d.]+) s under way, of which ([\d.]+) s were waited for")

TORCH = """
import os, sys, time, torch, torchvision
import torch.distributed as dist
batch, size, images, epochs = map(int, sys.argv[1:])
torch.set_num_threads(1)
dist.init_process_group("gloo")
ranks = dist.get_world_size()
network = torch.nn.parallel.DistributedDataParallel(torchvision.models.resnet18(num_classes=10).to(memory_format=torch.channels_last))
optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
pixels = torch.randn(batch // ranks, 3, size, size).contiguous(memory_format=torch.channels_last)
labels = torch.randint(0, 10, (batch // ranks,))
for epoch in range(epochs):
    began = time.perf_counter()
    for step in range(images // batch):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(pixels), labels).backward()
        optimizer.step()
    seconds = time.perf_counter() - began
if dist.get_rank() == 0:
    print((images // batch) * batch / seconds)
dist.destroy_process_group()
"""

SINGLE = TORCH.replace("import torch.distributed as dist\n", "").replace('dist.init_process_group("gloo")\n', "").replace(
    "ranks = dist.get_world_size()", "ranks = 1"
).replace("torch.nn.parallel.DistributedDataParallel(", "(").replace("if dist.get_rank() == 0:", "if True:").replace(
    "dist.destroy_process_group()\n", ""
).replace("torch.set_num_threads(1)", "torch.set_num_threads(2)")


def make_images(folder, count, size):
    import numpy
    from PIL import Image

    draws = numpy.random.default_rng(0)
    for number in range(count):
        into = folder / f"class{number % 10}"
        into.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (size, size, 3), dtype=numpy.uint8)).save(into / f"{number}.jpg", quality=90)


def environment(folder):
    return {
        **os.environ,
        "REGRAFT_CACHE": str(folder / "cache"),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMP_NUM_THREADS": "1",
    }


def regraft(options, folder, launcher, words):
    """Returns the images/s of the last epoch, and standard error."""
    output = folder / f"run{time.monotonic_ns()}"
    arguments = ["train", folder / "images", "--model", "resnet18", "--weights", "none", "--freeze", "none", "--head", "new"]
    arguments += ["--lr", "1e-3", "--epochs", options.epochs, "--batch-size", BATCH, "--image-size", options.image_size]
    arguments += ["--val-fraction", "0.02", "--no-report", "--output", output, *words]
    command = [*launcher, options.regraft, *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment(folder))
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    rows = list(csv.DictReader((output / "metrics.csv").open()))
    return float(rows[-1]["images_per_second"]), done.stderr


def torch_speed(options, folder, program, launcher):
    file = folder / "step.py"
    file.write_text(program)
    words = [*launcher, file, BATCH, options.image_size, options.images, options.epochs]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment(folder))
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def sums(stderr, steps):
    """Bytes and seconds of the sums, from the note at the end of a run."""
    found = TRAFFIC.search(stderr)
    if found is None:
        sys.exit(f"no note on sums in:\n{stderr}")
    count, megabytes, seconds, waited = (float(word) for word in found.groups())
    return {"count": count, "bytes": megabytes * 1e6, "seconds": seconds, "waited": waited, "steps": steps}


def predict(ranks, step, buckets, bandwidth, latency, allreduce=False):
    """Seconds of a step of `ranks` ranks that each compute `step` seconds and take `buckets` sums, and what takes the longest.

    Each rank sends 2 (ranks - 1) / ranks of the gradient. A sum is an Alltoallv and an Allgatherv; each has ranks - 1 messages, one
    after the other, where the best Allreduce needs 2 log2(ranks). All sums but the last travel during the backward pass.
    """
    volume = 2 * (ranks - 1) / ranks * GRADIENT / bandwidth
    messages = 2 * ((ranks - 1).bit_length() if allreduce else ranks - 1) * latency * buckets
    communication = volume + messages
    exposed = max(communication - BACKWARD * step, communication / buckets)
    parts = {"computation": step, "bandwidth": volume, "latency": messages}
    bound = "computation" if communication <= BACKWARD * step else max(("bandwidth", "latency"), key=parts.get)
    return step + exposed, bound


def table(header, rows):
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regraft", type=pathlib.Path, default=REGRAFT)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-torch", action="store_true")
    options = parser.parse_args()
    speeds, traffic = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_images(folder / "images", options.images, options.image_size)
        mpirun = ["mpirun", "-np", 2, "--bind-to", "core"]
        for _ in range(options.rounds):
            for name, launcher, words in [
                ("one process, `--threads 2`", [], ["--threads", 2]),
                ("one process, `--threads 1`", ["taskset", "-c", 0], ["--threads", 1]),
                ("`mpirun -np 2`, a core each", mpirun, []),
            ]:
                speed, stderr = regraft(options, folder, launcher, words)
                speeds.setdefault(name, []).append(speed)
                if launcher is mpirun:
                    trained = options.images - round(options.images * 0.02)
                    traffic.append(sums(stderr, options.epochs * -(-trained // BATCH)))
            if not options.without_torch:
                launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--standalone"]
                speeds.setdefault("PyTorch, one process, 2 threads", []).append(torch_speed(options, folder, SINGLE, [sys.executable]))
                speeds.setdefault("PyTorch, torchrun + DDP (gloo), 2 processes", []).append(torch_speed(options, folder, TORCH, launch))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    print(f"ResNet-18, {options.image_size} pixels, global batch {BATCH}, median of {options.rounds}:\n")
    whole = medians["one process, `--threads 2`"]
    of_torch = medians.get("PyTorch, one process, 2 threads")
    table(
        ["", "images/s", "of one process with 2 threads"],
        [[name, f"{speed:.1f}", f"{speed / (of_torch if 'PyTorch' in name else whole):.2f}"] for name, speed in medians.items()],
    )
    total = {key: statistics.median(found[key] for found in traffic) for key in traffic[0]}
    table(
        ["sums of a step", "bytes sent by a rank", "seconds of a sum", "seconds waited for a step's sums", "hidden behind the computation"],
        [
            [
                f"{total['count'] / total['steps']:.0f}",
                f"{total['bytes'] / total['steps'] / 1e6:.1f} MB",
                f"{total['seconds'] / total['count'] * 1e3:.1f} ms",
                f"{total['waited'] / total['steps'] * 1e3:.1f} ms",
                f"{100 * max(0, 1 - total['waited'] / total['seconds']):.0f} %",
            ]
        ],
    )
    # A rank with one core computes as long as the single-threaded process.
    share = 32 / medians["one process, `--threads 1`"]
    print(f"Predicted for ranks that compute 32 images each in {share:.2f} s a step (weak scaling):\n")
    rows, buckets = [], total["count"] / total["steps"]
    for network, (bandwidth, latency) in NETWORKS.items():
        for ranks in (8, 64, 512):
            seconds, bound = predict(ranks, share, buckets, bandwidth, latency)
            best, _ = predict(ranks, share, buckets, bandwidth, latency, allreduce=True)
            rows.append([network, str(ranks), f"{ranks * 32 / seconds:.0f}", f"{share / seconds:.2f}", f"{share / best:.2f}", bound])
    table(["network", "ranks", "images/s", "efficiency", "with Allreduce", "bound by"], rows)


if __name__ == "__main__":
    main()
