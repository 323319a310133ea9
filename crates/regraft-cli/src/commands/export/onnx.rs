//! `regraft export --format onnx`.

use crate::arguments::{ExportArguments, ExportInput, StoredType};
use crate::commands::thousands;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::atomic_file;
use regraft::model::Model;
use regraft_export::check::{Agreement, check};
use regraft_export::images;
use regraft_export::onnx::{
    self, Input, LOGITS, OnnxOptions, PIXELS, PROBABILITIES, StorageType, TENSOR,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The output of `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Report<'a> {
    format: &'static str,
    output: String,
    bytes: usize,
    architecture: &'a str,
    classes: &'a [String],
    input: &'static str,
    weights: &'static str,
    check: Option<&'a Agreement>,
    unchecked: Option<&'a str>,
    notes: &'a [String],
    regraft_version: &'static str,
}

pub fn run(arguments: &ExportArguments, model: &Model) -> Result<(), Failure> {
    if arguments.license.is_some() {
        return Err(Failure::input(anyhow::anyhow!(
            "--license is for the model card of --format timm; leave it out"
        )));
    }
    let options = options(arguments);
    let images = images_for(arguments)?;
    let file = onnx::to_bytes(model, options).map_err(Failure::input)?;
    let mut notes = model.notes.clone();
    let (agreement, unchecked) = match images {
        Ok(images) => (
            Some(checked(&file, model, options, &images, arguments.flags.on_defaults()?.threads)?),
            None,
        ),
        Err(reason) => (None, Some(reason)),
    };
    notes.extend(agreement.iter().flat_map(notes_on));
    atomic_file::write(&arguments.output, &file).map_err(Failure::under_way)?;
    notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if let Some(reason) = &unchecked {
        output::aside(format!(
            "warning: UNCHECKED, so the file may answer differently: {reason}; name images with \
             --check"
        ));
    }
    if arguments.json {
        return output::json(&Report {
            format: "onnx",
            output: arguments.output.display().to_string(),
            bytes: file.len(),
            architecture: model.architecture(),
            classes: &model.classes,
            input: if options.input == Input::Pixels { "pixels" } else { "tensor" },
            weights: if options.weights == StorageType::F32 { "f32" } else { "f16" },
            check: agreement.as_ref(),
            unchecked: unchecked.as_deref(),
            notes: &notes,
            regraft_version: env!("CARGO_PKG_VERSION"),
        });
    }
    let verdict = agreement.as_ref().map_or_else(|| "UNCHECKED".to_owned(), verdict);
    let (target, bytes) = (arguments.output.display(), thousands(file.len() as u64));
    output::line(format!(
        "{verdict}\nwrote {target}: {bytes} bytes, {}",
        takes(model, options.input)
    ))?;
    output::line(usage(&arguments.output, options.input))
}

fn options(arguments: &ExportArguments) -> OnnxOptions {
    let input = match arguments.input {
        None | Some(ExportInput::Pixels) => Input::Pixels,
        Some(ExportInput::Tensor) => Input::Tensor,
    };
    let weights = match arguments.weights {
        None | Some(StoredType::F32) => StorageType::F32,
        Some(StoredType::F16) => StorageType::F16,
    };
    OnnxOptions { input, weights }
}

/// The images for the check, or why there are none.
fn images_for(arguments: &ExportArguments) -> Result<Result<Vec<PathBuf>, String>, Failure> {
    match &arguments.check {
        Some(images) => images::of_folder(images).map(Ok).map_err(Failure::input),
        None => Ok(images::of_run(&arguments.saved).map_err(|error| error.to_string())),
    }
}

fn checked(
    file: &[u8],
    model: &Model,
    options: OnnxOptions,
    images: &[PathBuf],
    threads: usize,
) -> Result<Agreement, Failure> {
    let mut bars = Bars::default();
    let outcome = check(file, model, options, images, threads, &mut |done| {
        bars.show("checking", done, images.len(), String::new())
    });
    bars.clear();
    outcome.map_err(Failure::of)
}

fn notes_on(agreement: &Agreement) -> Vec<String> {
    let mut notes: Vec<String> =
        agreement.left_out.iter().map(|reason| format!("not in the check: {reason}")).collect();
    if agreement.reducible > 0 {
        notes.push(format!(
            "{} of the images are large JPEGs, which `regraft predict` decodes at a part of their \
             size; the check took them whole, as \
             other programs do and `predict --full-decode`",
            agreement.reducible
        ));
    }
    notes
}

fn verdict(agreement: &Agreement) -> String {
    let Agreement {
        images,
        classes_differ,
        probability_difference,
        logit_difference,
        logit_range,
        ..
    } = agreement;
    let classes = match classes_differ {
        0 => "the same class for all".to_owned(),
        some => format!("another class for {some}, whose two best are as good as equal"),
    };
    format!(
        "checked with rten on {images} images: {classes}; probabilities differ by up to \
         {probability_difference:.1e}, logits by up to \
         {logit_difference:.1e} of a range of {logit_range:.1}"
    )
}

fn takes(model: &Model, input: Input) -> String {
    let size = model.preprocessing.image_size;
    match input {
        Input::Pixels => format!(
            "takes `{PIXELS}` (uint8 [N, H, W, 3], RGB, any size), gives `{PROBABILITIES}` and \
             `{LOGITS}`"
        ),
        Input::Tensor => format!(
            "takes `{TENSOR}` (float32 [N, 3, {size}, {size}]), gives `{PROBABILITIES}` and \
             `{LOGITS}`"
        ),
    }
}

/// How to use the file from Python.
fn usage(path: &Path, input: Input) -> String {
    if input == Input::Tensor {
        return "its metadata `regraft.usage`, `regraft.preprocessing` and `regraft.classes` say \
            how to prepare images and what the \
                outputs mean"
            .to_owned();
    }
    // JSON's text is Python's too.
    let path = serde_json::Value::from(path.display().to_string());
    format!(
        "\nfrom Python:\n
    import json, numpy, onnxruntime
    from PIL import Image, ImageOps
    session = onnxruntime.InferenceSession({path})
    classes = json.loads(session.get_modelmeta().custom_metadata_map[\"regraft.classes\"])
    image = ImageOps.exif_transpose(Image.open(\"photo.jpg\")).convert(\"RGB\")
    [probabilities] = session.run([\"probabilities\"], {{\"pixels\": \
        numpy.asarray(image)[None]}})[0]
    print(classes[probabilities.argmax()], probabilities.max())"
    )
}
