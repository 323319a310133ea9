//! Checks of images and labels by the embedded model's features.

use super::{AuditError, AuditOptions, Files, Outlier, SuspectLabel, outliers};
use crate::config::{PrecisionChoice, cores_or};
use crate::evaluate::EVALUATION_BATCH;
use crate::features::{FeatureStore, LIMIT_BYTES, cache_folder, features, trunk_fingerprint};
use crate::inference::{self, same_files};
use crate::logistic_regression::{CrossValidationOptions, Examples, cross_validate};
use crate::model::Model;
use crate::progress::{Progress, Stage};
use crate::suspect_labels::suspects;
use regraft_data::audit::Facts;
use regraft_data::catalogue::Sample;
use regraft_data::loader::LoaderOptions;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The suspect labels and the outliers among the images that can be read.
pub(super) fn ask(
    files: &Files,
    facts: &[Facts],
    options: &AuditOptions,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<(Vec<SuspectLabel>, Vec<Outlier>), AuditError> {
    let readable: Vec<usize> =
        (0..facts.len()).filter(|&file| facts[file].unreadable.is_none()).collect();
    let samples: Arc<[Sample]> = readable.iter().map(|&file| files.samples[file].clone()).collect();
    if samples.len() < 2 {
        return Ok((Vec::new(), Vec::new()));
    }
    let model = Model::embedded()?;
    let mut engine = inference::engine(
        &model,
        &options.device,
        options.threads,
        PrecisionChoice::F32,
        &options.ranks,
    )?;
    let loading = LoaderOptions {
        workers: options.ranks.threads(options.workers),
        decode: options.decode,
        ..LoaderOptions::new(model.preprocessing.clone(), EVALUATION_BATCH)
    };
    let fingerprint = trunk_fingerprint(&mut *engine, &model.preprocessing)?;
    let mut store = cache_folder().map(|folder| {
        FeatureStore::new(&folder, fingerprint, LIMIT_BYTES).of_ranks(&options.ranks)
    });
    let total = samples.len();
    same_files(&options.ranks, samples.iter().map(|sample| sample.path.as_path()))?;
    let found = features(&mut *engine, &samples, &loading, store.as_mut(), &mut |done| {
        report(Progress::of(Stage::AllFeatures, done, total));
        ControlFlow::Continue(())
    })?;
    let given: Vec<u32> = samples.iter().map(|sample| sample.label).collect();
    let (channels, classes) = (found.channels, files.classes.len());
    let examples = Examples {
        features: &found.values,
        channels,
        labels: &given,
        classes,
        class_weights: None,
        prior: None,
    };
    let folds = CrossValidationOptions::new(options.seed).for_examples(total);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores_or(options.threads)).build()?;
    let (held_out, far) = pool.install(|| {
        (
            cross_validate(examples, &folds, &mut |_, _| ControlFlow::Continue(())),
            outliers::outliers(&found.values, found.channels),
        )
    });
    let suspects = suspects(&held_out?.out_of_fold, &given, files.classes.len());
    let suspects = suspects.into_iter().map(|suspect| {
        let file = readable[suspect.example];
        let (given, likely) = (files.class(file).to_owned(), files.classes[suspect.likely].clone());
        SuspectLabel { path: files.path(file), given, likely, score: suspect.score }
    });
    let outliers = far.into_iter().map(|(example, score)| {
        let file = readable[example];
        Outlier { path: files.path(file), class: files.class(file).to_owned(), score }
    });
    Ok((suspects.collect(), outliers.collect()))
}
