//! The answers that a report shows, with their images.

use super::{Numbers, ReportError, Run, activation_map::shaded};
use crate::inference::{self, InferenceError, InferenceOptions};
use crate::model::Model;
use crate::predictions::Prediction;
use crate::report::jpeg::jpeg;
use crate::run_report::ActivationMaps;
use regraft_base::resample::{Filter, Rectangle, resize_rgb};
use regraft_data::decode::decode;
use regraft_data::loader::LoaderOptions;
use regraft_data::preprocessing::evaluation_pixels;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Mistakes, and uncertain hits, that a report shows.
const SHOWN: usize = 12;
/// Side of an image in pixels.
const SIDE: usize = 160;

/// An answer that a report shows. The JSON names are the field names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownAnswer {
    /// The image's file.
    pub path: String,
    /// Its true class.
    pub class: String,
    /// The class that the model names.
    pub predicted: String,
    /// The probability that the model gives to it.
    pub probability: f32,
    /// The probability that it gives to the true class.
    pub class_probability: Option<f32>,
}

impl ShownAnswer {
    fn of(row: &Prediction) -> Option<Self> {
        Some(Self {
            path: row.path.clone(),
            class: row.class.clone(),
            predicted: row.predicted.clone()?,
            probability: row.probability?,
            class_probability: row.class_probability,
        })
    }
}

/// The most probable mistakes and the least probable hits.
pub(super) fn extremes(predictions: &[Prediction]) -> (Vec<ShownAnswer>, Vec<ShownAnswer>) {
    let of = |right: bool| -> Vec<ShownAnswer> {
        let rows = predictions.iter().filter(|row| row.is_right() == right);
        rows.filter_map(ShownAnswer::of).collect()
    };
    let (mut mistakes, mut hits) = (of(false), of(true));
    // Stable: equal probabilities stay in the order of the images.
    mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    hits.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    mistakes.truncate(SHOWN);
    hits.truncate(SHOWN);
    (mistakes, hits)
}

/// Images as JPEGs in base 64.
#[derive(Default)]
pub(super) struct Drawn {
    /// By path.
    plain: HashMap<String, String>,
    /// Shaded by a class's activation map, by path and class.
    shaded: HashMap<(String, String), String>,
}

impl Drawn {
    /// The image as the network sees it.
    pub fn plain(&self, path: &str) -> Option<&String> {
        self.plain.get(path)
    }

    /// The image, bright where it speaks for the class.
    pub fn shaded(&self, path: &str, class: &str) -> Option<&String> {
        self.shaded.get(&(path.to_owned(), class.to_owned()))
    }

    /// Whether there are images.
    pub fn has_images(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Whether there are activation maps.
    pub fn has_maps(&self) -> bool {
        !self.shaded.is_empty()
    }
}

/// Draws the images that a report shows, with the activation maps of the classes named for them.
pub(super) fn draw(
    run: &Run,
    model: &Model,
    options: &InferenceOptions,
    numbers: &Numbers,
    notes: &mut Vec<String>,
) -> Result<Drawn, ReportError> {
    let answers = || numbers.mistakes.iter().chain(&numbers.uncertain);
    let suspects = run.summary.head_fit.iter().flat_map(|fit| &fit.out_of_fold);
    let suspects = suspects.flat_map(|found| &found.suspect_labels).take(SHOWN);
    let paths: BTreeSet<&str> = answers()
        .map(|answer| answer.path.as_str())
        .chain(suspects.map(|suspect| suspect.path.as_str()))
        .collect();
    let size = model.preprocessing.image_size as usize;
    let decoding = LoaderOptions {
        decode: options.decode,
        full_decode: options.full_decode,
        ..LoaderOptions::new(model.preprocessing.clone(), 1)
    }
    .decode_options();
    let mut pixels = Vec::new();
    let mut read = Vec::new();
    for path in &paths {
        // An image that is gone has no place on the page; the note below counts them.
        if let Ok(image) = decode(Path::new(path), &decoding) {
            pixels.extend(evaluation_pixels(&image, &model.preprocessing).pixels);
            read.push(*path);
        }
    }
    if read.len() < paths.len() {
        notes.push(format!(
            "{} of {} images of the report cannot be read, such as {}: run it where the training \
             ran, or name the images",
            paths.len() - read.len(),
            paths.len(),
            paths.iter().find(|path| !read.contains(path)).copied().unwrap_or_default()
        ));
    }
    let mut drawn = Drawn::default();
    if read.is_empty() {
        return Ok(drawn);
    }
    let mut engine = inference::engine(
        model,
        &options.device,
        options.threads,
        options.precision,
        &options.ranks,
    )?;
    let maps = ActivationMaps::new(&mut *engine, model, &pixels).map_err(InferenceError::from)?;
    let places: HashMap<&str, usize> =
        read.iter().enumerate().map(|(place, path)| (*path, place)).collect();
    let small: Vec<Vec<u8>> =
        pixels.chunks_exact(size * size * 3).map(|image| resized(image, size)).collect();
    for (path, image) in read.iter().zip(&small) {
        let file = jpeg(image, SIDE as u32, SIDE as u32);
        drawn.plain.extend(file.map(|file| ((*path).to_owned(), file)));
    }
    let Some(maps) = maps else { return Ok(drawn) };
    let class = |name: &str| model.classes.iter().position(|class| class == name);
    for answer in answers() {
        let Some(&place) = places.get(answer.path.as_str()) else { continue };
        for name in BTreeSet::from([&answer.predicted, &answer.class]) {
            let Some(class) = class(name) else { continue };
            let image = shaded(&small[place], SIDE, &maps.map(place, class), maps.side());
            let file = jpeg(&image, SIDE as u32, SIDE as u32);
            let key = (answer.path.clone(), name.clone());
            drawn.shaded.extend(file.map(|file| (key, file)));
        }
    }
    Ok(drawn)
}

/// Levels `[size, size, 3]` at the size of the page.
fn resized(pixels: &[u8], size: usize) -> Vec<u8> {
    let mut small = vec![0; SIDE * SIDE * 3];
    let (whole, window) = (Rectangle::whole(size, size), Rectangle::whole(SIDE, SIDE));
    resize_rgb(pixels, (size, size), whole, (SIDE, SIDE), window, Filter::Bilinear, &mut small);
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_mistakes_and_the_least_sure_hits_are_shown() {
        let row = |path: usize, predicted: &str, probability: f32| Prediction {
            path: path.to_string(),
            class: "a".into(),
            predicted: Some(predicted.into()),
            probability: Some(probability),
            ..Prediction::default()
        };
        let mut rows: Vec<Prediction> = (0..40)
            .map(|place| {
                row(place, if place % 2 == 0 { "a" } else { "b" }, 0.5 + place as f32 / 100.0)
            })
            .collect();
        rows.push(Prediction { path: "none".into(), class: "a".into(), ..Prediction::default() });
        let (mistakes, hits) = extremes(&rows);
        let paths = |answers: &[ShownAnswer]| {
            answers.iter().map(|answer| answer.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!((mistakes.len(), hits.len()), (12, 12));
        assert_eq!(paths(&mistakes)[..2], ["39", "37"]);
        assert_eq!(paths(&hits)[..2], ["0", "2"]);
    }
}
