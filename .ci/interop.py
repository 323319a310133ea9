"""Opens files from `regraft export` in other programs, and compares their inputs and answers with Regraft's.

    cargo run -p regraft-export --example interop -- FOLDER
    python .ci/interop.py onnx FOLDER        needs onnx, onnxruntime, pillow
    python .ci/interop.py openvino FOLDER    needs openvino, pillow
    python .ci/interop.py timm FOLDER        needs timm, torch, torchvision, pillow, pyyaml

and the event file of a run, in FOLDER/run, in TensorBoard:

    python .ci/interop.py tensorboard FOLDER needs tensorboard
"""

import json
import sys
from pathlib import Path

import numpy
from PIL import Image

# Relative to the largest logit. The engines sum in different orders; weights in f16 have 11 significant bits.
F32_TOLERANCE = 1e-4
F16_TOLERANCE = 1e-2


def images(folder):
    paths = sorted(folder.glob("*.png"), key=lambda path: int(path.stem))
    return [Image.open(path).convert("RGB") for path in paths]


def networks(folder):
    """For each network, yields its folder, the expected answers, and the network's input `[N, 3, S, S]`."""
    for answers in sorted(folder.glob("*/answers.json")):
        promised = json.loads(answers.read_text())
        inputs = numpy.fromfile(answers.with_name("inputs.f32"), "<f4").reshape(-1, 3, promised["size"], promised["size"])
        yield answers.parent, promised, inputs


def difference(found, promised):
    """The largest difference, as a share of the largest expected value. NaN counts."""
    promised = numpy.asarray(promised)
    assert found.shape == promised.shape, (found.shape, promised.shape)
    return float(numpy.abs(found - promised).max() / numpy.abs(promised).max())


def check_levels(name, found, expected, promised):
    """Compares pixels in levels: with the triangle filter all are equal, with the cubic one all except 1 in 10,000."""
    std = numpy.asarray(promised["std"]).reshape(1, 3, 1, 1)
    levels = numpy.abs(found - expected) * std * 255
    differing = int((levels > 0.01).sum())
    assert levels.max() < 1.01, f"{name}: {levels.max()} levels"
    assert differing <= (levels.size * 1e-4 if promised["bicubic"] else 0), f"{name}: {differing} of {levels.size} differ"
    return differing


def onnx_checks(folder):
    import onnx
    import onnxruntime

    pictures = images(folder)
    for network, promised, inputs in networks(folder):
        for file in ["pixels", "tensor", "f16"]:
            onnx.checker.check_model(str(network / f"{file}.onnx"), full_check=True)
        # The network's input becomes an output.
        model = onnx.load(network / "pixels.onnx")
        assert (model.ir_version, [entry.version for entry in model.opset_import]) == (8, [17])
        model.graph.output.append(onnx.ValueInfoProto(name="normalise/Div_2_output"))
        pixels = onnxruntime.InferenceSession(model.SerializeToString())
        rows = [pixels.run(["logits", "normalise/Div_2_output"], {"pixels": numpy.asarray(picture)[None]}) for picture in pictures]
        read = numpy.concatenate([row[1] for row in rows])
        differing = check_levels(network.name, read, inputs, promised)
        logits = numpy.concatenate([row[0] for row in rows])
        # A difference of one level is more than a rounding error.
        tolerance = 1e-3 if differing else F32_TOLERANCE
        found = {"pixels": difference(logits, promised["logits"])}
        assert found["pixels"] < tolerance, f"{network.name}: {found}"

        tensor = onnxruntime.InferenceSession(network / "tensor.onnx")
        logits, probabilities = tensor.run(["logits", "probabilities"], {"input": inputs})
        found["tensor"] = difference(logits, promised["logits"])
        assert found["tensor"] < F32_TOLERANCE, f"{network.name}: {found}"
        assert numpy.abs(probabilities.sum(axis=1) - 1).max() < 1e-5
        metadata = tensor.get_modelmeta().custom_metadata_map
        assert json.loads(metadata["regraft.classes"]) == [f"class {number}" for number in range(10)]
        assert json.loads(metadata["regraft.preprocessing"])["image_size"] == promised["size"]

        half = onnxruntime.InferenceSession(network / "f16.onnx")
        logits = [half.run(["logits"], {"pixels": numpy.asarray(picture)[None]})[0] for picture in pictures]
        found["f16"] = difference(numpy.concatenate(logits), promised["logits"])
        assert found["f16"] < F16_TOLERANCE, f"{network.name}: {found}"
        shown = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        print(f"onnxruntime {onnxruntime.__version__}: {network.name}: {differing} of {read.size} pixel values differ; logits: {shown}")


def openvino_checks(folder):
    import openvino

    pictures = images(folder)
    core = openvino.Core()
    for network, promised, _ in networks(folder):
        # By default, OpenVINO computes in bf16 on processors that multiply it.
        model = core.compile_model(str(network / "pixels.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        logits = numpy.concatenate([model({"pixels": numpy.asarray(picture)[None]})["logits"] for picture in pictures])
        found = difference(logits, promised["logits"])
        assert found < (1e-3 if promised["bicubic"] else F32_TOLERANCE), f"{network.name}: logits differ by {found}"
        print(f"OpenVINO {openvino.__version__.split('-')[0]}: {network.name}: logits: {found:.1e}")


def timm_checks(folder):
    import timm
    import torch
    import yaml

    pictures = images(folder)
    for network, promised, inputs in networks(folder):
        exported = network / "timm"
        front_matter = exported.joinpath("README.md").read_text().split("---\n")[1]
        assert yaml.safe_load(front_matter)["library_name"] == "timm"
        model = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
        assert list(model.pretrained_cfg["label_names"]) == [f"class {number}" for number in range(10)]
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
        # Without torch's bridge to numpy, which some builds lack.
        read = torch.stack([transform(picture) for picture in pictures])
        with torch.inference_mode():
            logits = model(torch.tensor(inputs.tolist()))
        found = difference(numpy.array(logits.tolist()), promised["logits"])
        assert found < F32_TOLERANCE, f"{network.name}: logits differ by {found}"
        differing = check_levels(network.name, numpy.array(read.tolist()), inputs, promised)
        print(f"timm {timm.__version__}: {network.name}: {differing} of {inputs.size} pixel values differ; logits: {found:.1e}")


def tensorboard_checks(folder):
    import csv
    import tempfile

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    def read(run):
        events = EventAccumulator(str(run), size_guidance={"scalars": 0})
        events.Reload()
        return events

    run = folder / "run"
    events = read(run)
    with open(run / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 2
    columns = {name for row in rows for name, value in row.items() if value} - {"epoch"}
    tags = set(events.Tags()["scalars"])
    assert tags == {f"epoch/{name}" for name in columns} | {"step/loss", "step/accuracy", "step/learning_rate"}, tags
    for name in columns:
        promised = [(int(row["epoch"]), numpy.float32(row[name])) for row in rows if row[name]]
        found = [(event.step, numpy.float32(event.value)) for event in events.Scalars(f"epoch/{name}")]
        assert found == promised, f"{name}: {found} is not {promised}"
    steps = [event.step for event in events.Scalars("step/loss")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > 10, steps

    def hparams(tag):
        plugins = events.SummaryMetadata(tag).plugin_data
        assert plugins.plugin_name == "hparams"
        return plugin_data_pb2.HParamsPluginData.FromString(plugins.content)

    options = hparams("_hparams_/session_start_info").session_start_info.hparams
    assert options["batch_size"].number_value == 16 and options["recipe"].string_value == "default", options
    assert hparams("_hparams_/session_end_info").session_end_info.status == 1

    # A file that a kill has cut anywhere is readable up to its last whole record.
    [file] = run.glob("events.out.tfevents.*")
    content = file.read_bytes()
    most = 0
    for length in range(0, len(content), max(1, len(content) // 23)):
        with tempfile.TemporaryDirectory() as cut:
            (Path(cut) / file.name).write_bytes(content[:length])
            found = read(cut)
            count = len(found.Scalars("step/loss")) if "step/loss" in found.Tags()["scalars"] else 0
            assert most <= count <= len(steps), (length, count)
            most = count
    assert most > 10
    print(f"tensorboard: {len(columns)} columns in {len(rows)} epochs, {len(steps)} steps, {len(options)} options")


if __name__ == "__main__":
    programs = {"onnx": onnx_checks, "openvino": openvino_checks, "timm": timm_checks, "tensorboard": tensorboard_checks}
    programs[sys.argv[1]](Path(sys.argv[2]))
