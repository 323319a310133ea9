"""Regraft's and PyTorch's speed in turn on this machine: steps on random pictures that are already in memory.

    pip install torch torchvision efficientnet-lite-pytorch
    python bench/step.py --models efficientnet_lite0 resnet18 --modes train eval --batch 32

Each is measured in a process of its own, with nothing else running, after two steps that are not counted; PyTorch in both of its layouts,
of which the faster counts. Prints a Markdown table with the ratio of the medians.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import time

LAYOUTS = ("contiguous", "channels_last")


def build(model, classes, freeze):
    import torch

    if model == "efficientnet_lite0":
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network._fc = torch.nn.Linear(network._fc.in_features, classes)
    else:
        import torchvision

        network = getattr(torchvision.models, model)(num_classes=classes)
    if freeze:
        if freeze not in dict(network.named_children()):
            raise SystemExit(f"{model} has no layer {freeze}")
        network.train()
        for name, child in network.named_children():
            child.eval().requires_grad_(False)
            if name == freeze:
                break
    return network


def torch_step(options):
    """One measurement of PyTorch, printed as JSON."""
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = build(options.model, 2, options.freeze)
    if options.mode == "eval":
        network.eval()
    elif not options.freeze:
        network.train()
    pictures, labels = torch.randn(options.batch, 3, 224, 224), torch.arange(options.batch) % 2
    if options.layout == "channels_last":
        network, pictures = (value.to(memory_format=torch.channels_last) for value in (network, pictures))
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-3, momentum=0.9, weight_decay=1e-3)

    def step():
        if options.mode == "eval":
            with torch.inference_mode():
                return network(pictures)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(pictures), labels).backward()
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
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--regraft", default="target/release/regraft")
    arguments.add_argument("--models", nargs="+", default=["efficientnet_lite0", "resnet18"])
    arguments.add_argument("--modes", nargs="+", default=["train", "eval"], choices=["train", "eval"])
    arguments.add_argument("--freeze", default="", help="name of the last frozen layer, such as layer3")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--model", help=argparse.SUPPRESS)
    arguments.add_argument("--mode", help=argparse.SUPPRESS)
    arguments.add_argument("--layout", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.model:
        return torch_step(options)
    common = ["--batch", str(options.batch), "--steps", str(options.steps), "--threads", str(options.threads)]
    print("| work | PyTorch, images/s | Regraft, images/s | ratio | PyTorch, peak MiB | Regraft, peak MiB |\n|---|---|---|---|---|---|")
    for model in options.models:
        for mode in options.modes:
            freeze = ["--freeze", f"through={options.freeze}"] if options.freeze else []
            ours = run([options.regraft, "bench", "step", "--model", model, "--mode", mode, "--json", *common, *freeze])
            measure = [sys.executable, __file__, *common, "--model", model, "--mode", mode, "--freeze", options.freeze]
            theirs = max((run([*measure, "--layout", layout]) for layout in LAYOUTS), key=lambda result: result["images_per_second"])
            ratio = ours["images_per_second"] / theirs["images_per_second"]
            name = f"{model}, {mode}, {ours['isa']}, {ours['precision']}, batch {options.batch}" + ", frozen" * bool(options.freeze)
            print(
                f"| {name} | {theirs['images_per_second']:.1f} | {ours['images_per_second']:.1f} | {ratio:.2f} | "
                f"{theirs['peak_mib']} | {ours['peak_mib']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
