#!/usr/bin/env python3
"""Times training steps on a GPU, beside the rates that PyTorch reached on an H100.

    python bench/gpu.py [--regraft PATH] [--device gpu] [--steps N] [--quick]

Runs `regraft bench step` for each network, batch size and precision, on random images of the network's own size,
and prints a table in Markdown. Needs at most ten minutes on an H100. Networks that the GPU has no memory for are
reported as such. `--quick` takes small batches and one step each, to see that everything runs.

PyTorch's rates are those of PyTorch 2.11 with cuDNN 9.19 on one H100 (driver 580, 224 pixels, images on the GPU):
eager, bf16 with channels last, and f32 with TF32 off.
"""

import argparse
import json
import subprocess
import sys

# (network, batch, precision): images per second of eager PyTorch on an H100.
CASES = {
    ("resnet18", 64, "f16"): 6452,
    ("resnet18", 256, "f16"): 11759,
    ("efficientnet_lite0", 64, "f16"): 2494,
    ("efficientnet_lite0", 256, "f16"): 5366,
    ("resnet50", 256, "f16"): 3919,
    ("resnet18", 64, "f32"): 2445,
    ("resnet18", 256, "f32"): 2723,
    ("efficientnet_lite0", 64, "f32"): 1547,
    ("efficientnet_lite0", 256, "f32"): 1731,
}


def run(arguments):
    return subprocess.run(arguments, capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--regraft", default="target/release/regraft")
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    doctor = run([options.regraft, "doctor", "--json"])
    if doctor.returncode:
        sys.exit(doctor.stderr)
    for gpu in json.loads(doctor.stdout)["gpus"]:
        print(f"{gpu['device']}: {gpu['name']} ({gpu['kind']}, {gpu['interface']}, {gpu['driver']})")

    print("\n| network | batch | precision | images/s | ms a step | PyTorch on an H100 | ratio |")
    print("|---|---|---|---|---|---|---|")
    for (network, batch, precision), peer in CASES.items():
        batch, steps = (2, 1) if options.quick else (batch, options.steps)
        step = run(
            [options.regraft, "bench", "step", "--model", network, "--batch", str(batch), "--classes", "1000"]
            + ["--precision", precision, "--device", options.device, "--steps", str(steps), "--json"]
        )
        if step.returncode:
            message = step.stderr.strip().splitlines()[-1] if step.stderr.strip() else "no message"
            print(f"| {network} | {batch} | {precision} | failed: {message} | | {peer} | |", flush=True)
            continue
        found = json.loads(step.stdout)
        rate = found["images_per_second"]
        row = f"{rate:.0f} | {1000 * batch / rate:.2f} | {peer} | {rate / peer:.2f}"
        print(f"| {network} | {batch} | {precision} | {row} |", flush=True)


if __name__ == "__main__":
    main()
