"""Compares Regraft's and PyTorch's speed and memory on this machine: steps on random images that are already in memory.

    pip install torch torchvision efficientnet-lite-pytorch
    cargo build --release
    python bench/step.py                                   # the whole table: about an hour on two cores
    python bench/step.py --only resnet18 train --batch 32  # rows whose names have all these words
    python bench/step.py --isa avx2                        # both programs as on a processor without AVX-512
    python bench/step.py --before older/regraft            # with a column for another version, measured in turn

Each measurement is a process of its own, with nothing else running, after two steps that are not counted. PyTorch runs in each of
its settings: both memory layouts; in bf16 with autocast and, in evaluation, also as a network that was cast to bf16. The fastest
counts, and for memory the smallest. Prints a Markdown table with ratios of the medians; a memory ratio below 1 means that Regraft
needs less.
"""
import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time

LAYOUTS = ("contiguous", "channels_last")
# What keeps PyTorch and oneDNN, its library of kernels, to an instruction set of Regraft's.
KEEP_TO = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "avx512bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "amx": {},
}


@dataclasses.dataclass(frozen=True)
class Row:
    model: str
    mode: str
    precision: str
    freeze: str = ""

    def name(self, batch):
        frozen = f", frozen through {self.freeze}" if self.freeze else ""
        return f"{self.model}, {self.mode}, {self.precision}, batch {batch}{frozen}"


ROWS = [
    Row("resnet18", "train", "bf16"),
    Row("resnet18", "train", "f32"),
    Row("resnet18", "eval", "bf16"),
    Row("resnet18", "eval", "f32"),
    Row("resnet50", "train", "bf16"),
    Row("efficientnet_lite0", "train", "bf16"),
    Row("efficientnet_lite0", "train", "f32"),
    Row("efficientnet_lite0", "eval", "bf16"),
    Row("efficientnet_lite0", "eval", "f32"),
    Row("resnet18", "train", "bf16", freeze="layer3"),
]


def settings(row):
    """Returns PyTorch's settings for a row: the memory layout, and the way to bf16."""
    casts = {("bf16", "train"): ["autocast"], ("bf16", "eval"): ["autocast", "network"]}.get((row.precision, row.mode), ["none"])
    return [(layout, cast) for layout in LAYOUTS for cast in casts]


def build(model, classes, freeze):
    import torch

    if model == "efficientnet_lite0":
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network._fc = torch.nn.Linear(network._fc.in_features, classes)
    else:
        import torchvision

        network = getattr(torchvision.models, model)(num_classes=classes)
    network.train()
    if freeze:
        if freeze not in dict(network.named_children()):
            raise SystemExit(f"{model} has no layer {freeze}")
        for name, child in network.named_children():
            child.eval().requires_grad_(False)
            if name == freeze:
                break
    return network


def torch_step(options):
    """Makes one measurement of PyTorch and prints it as JSON."""
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = build(options.model, 2, options.freeze)
    if options.mode == "eval":
        network.eval()
    pictures, labels = torch.randn(options.batch, 3, 224, 224), torch.arange(options.batch) % 2
    if options.layout == "channels_last":
        network, pictures = (value.to(memory_format=torch.channels_last) for value in (network, pictures))
    if options.cast == "network":
        network, pictures = network.bfloat16(), pictures.bfloat16()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-3, momentum=0.9, weight_decay=1e-3)

    def forward():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.cast == "autocast"):
            return network(pictures)

    def step():
        if options.mode == "eval":
            with torch.inference_mode():
                return forward()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward().float(), labels).backward()
        return optimizer.step()

    seconds = []
    for number in range(options.steps + 2):
        start = time.perf_counter()
        step()
        if number >= 2:
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"images_per_second": options.batch / seconds[len(seconds) // 2], "peak_mib": peak}))


def run(command):
    """Returns the JSON that a process prints; if it fails, shows its output and ends the measurement."""
    outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if outcome.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {outcome.returncode}:\n{outcome.stderr}")
    return json.loads(outcome.stdout)


def best(results):
    """Returns the fastest of some measurements, and the least memory of any."""
    fastest = max(results, key=lambda result: result["images_per_second"])
    return {**fastest, "peak_mib": min(result["peak_mib"] for result in results)}


def measure(row, batch, options):
    """Returns the table's line for a row, with PyTorch and Regraft measured in turn, and the instruction set."""
    common = ["--batch", str(batch), "--steps", str(options.steps), "--threads", str(options.threads)]
    ours, older, theirs = [], [], []
    for _ in range(options.rounds):
        freeze = ["--freeze", f"through={row.freeze}"] if row.freeze else []
        what = ["--model", row.model, "--mode", row.mode]
        step = ["bench", "step", *what, "--precision", row.precision, "--json", *common, *freeze]
        if options.before:
            older.append(run([options.before, *step]))
        ours.append(run([options.regraft, *step]))
        for layout, cast in settings(row):
            setting = ["--layout", layout, "--cast", cast, "--freeze", row.freeze]
            theirs.append({**run([sys.executable, __file__, *what, *common, *setting]), "setting": f"{layout}, {cast}"})
    isa, ours, theirs = ours[0]["isa"], best(ours), best(theirs)
    older = best(older) if older else None
    ratio, memory = (ours[key] / theirs[key] for key in ("images_per_second", "peak_mib"))
    cells = [
        row.name(batch),
        theirs["setting"].removesuffix(", none"),
        f"{theirs['images_per_second']:.1f}",
        *([f"{older['images_per_second']:.1f}"] if older else []),
        f"{ours['images_per_second']:.1f}",
        f"{ratio:.2f}",
        str(theirs["peak_mib"]),
        *([str(older["peak_mib"])] if older else []),
        str(ours["peak_mib"]),
        f"{memory:.2f}",
    ]
    return "| " + " | ".join(cells) + " |", isa


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--regraft", default="target/release/regraft")
    arguments.add_argument("--before", metavar="PROGRAM", help="another version of Regraft, measured too")
    arguments.add_argument("--isa", choices=list(KEEP_TO), help="the instruction set of both programs")
    arguments.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows whose names have all these words")
    arguments.add_argument("--precision", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    arguments.add_argument("--batch", nargs="+", type=int, default=[32, 128])
    arguments.add_argument("--steps", type=int, default=8, help="steps that are timed")
    arguments.add_argument("--rounds", type=int, default=1, help="each is measured so many times, and the best counts")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    for internal in ["--model", "--mode", "--layout", "--cast", "--freeze"]:
        arguments.add_argument(internal, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.model:
        (options.batch,) = options.batch
        return torch_step(options)
    rows = [(row, batch) for row in ROWS for batch in options.batch if row.precision in options.precision]
    rows = [(row, batch) for row, batch in rows if all(word in row.name(batch).replace(",", "").split() for word in options.only)]
    if not rows:
        raise SystemExit("no row has all these words; the rows are\n" + "\n".join(row.name(32) for row in ROWS))
    if options.isa:
        os.environ.update(KEEP_TO[options.isa], REGRAFT_ISA=options.isa)
    head = ["work", "PyTorch's setting", "PyTorch, images/s", "Regraft, images/s", "ratio"]
    head += ["PyTorch, peak MiB", "Regraft, peak MiB", "memory ratio"]
    if options.before:
        head[3:3], head[7:7] = ["before"], ["before, peak MiB"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|", flush=True)
    used = set()
    for row, batch in rows:
        line, isa = measure(row, batch, options)
        used.add(isa)
        print(line, flush=True)
    print(f"\n{options.threads} threads, timed steps: {options.steps}; Regraft's kernels: {', '.join(sorted(used))}.")


if __name__ == "__main__":
    main()
