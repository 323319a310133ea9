//! The library as a program uses it: train without a folder, then classify.
#![allow(missing_docs)]

use regraft::classifier::ClassifierError;
use regraft::config::{Freeze, HeadStart};
use regraft::data::RgbImage;
use regraft::data::decode::{DecodeOptions, decode};
use regraft::inference::InferenceOptions;
use regraft::predict::predict_files;
use regraft::train::{Destination, Event, Finished, Outcome, Place, Settings, Stop};
use regraft::{Classifier, Image, TrainConfig, train};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample/fashion");

/// Some test images of two classes.
fn images() -> Vec<PathBuf> {
    let of = |class: &str| {
        let folder =
            std::fs::read_dir(Path::new(SAMPLE).join("test").join(class)).expect("a folder");
        let mut paths: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.truncate(3);
        paths
    };
    [of("bag"), of("trouser")].concat()
}

/// Trains on the sample at 32 pixels, and counts events by their names.
fn trained() -> (Finished, Vec<String>) {
    let config = TrainConfig::builder(SAMPLE).image_size(32).freeze(Freeze::Backbone).build();
    let settings = Settings { destination: Destination::Nowhere, ..Settings::default() };
    let mut events = Vec::new();
    let outcome = train(&config.expect("possible"), &settings, &mut |event: Event| {
        let event = serde_json::to_value(&event).expect("an event has a form in JSON");
        events.push(event["event"].as_str().expect("a name").to_owned());
    });
    match outcome.expect("a run") {
        Outcome::Finished(run) => (*run, events),
        Outcome::Stopped(stop) => panic!("stopped {}", stop.place),
    }
}

#[test]
fn a_model_is_trained_in_memory_and_classifies_paths_bytes_and_pixels_alike() {
    let (run, events) = trained();
    assert_eq!(run.folder, None);
    for expected in ["progress", "note", "started", "epoch"] {
        assert!(events.iter().any(|event| event == expected), "{expected} is not in {events:?}");
    }
    let accuracy = run.summary.test_accuracy.expect("a test set");
    assert!(accuracy > 0.6, "{accuracy}");

    let model = run.model.expect("nothing was written");
    let options = InferenceOptions::default();
    let paths = images();
    let expected = predict_files(&model, &paths, 10, &options, &mut |_| {}).expect("predictions");
    let mut classifier = Classifier::new(model, &options).expect("a classifier");
    let bytes: Vec<Vec<u8>> =
        paths.iter().map(|path| std::fs::read(path).expect("bytes")).collect();
    let pixels: Vec<RgbImage> = paths
        .iter()
        .map(|path| decode(path, &DecodeOptions::default()).expect("an image"))
        .collect();
    let by_path: Vec<Image<'_>> = paths.iter().map(Image::from).collect();
    let together = classifier.predict_batch(&by_path).expect("classifications");
    let bytes_together = bytes.iter().map(Image::from).collect::<Vec<_>>();
    assert_eq!(classifier.predict_batch(&bytes_together).expect("classifications"), together);
    for (place, prediction) in expected.predictions.iter().enumerate() {
        assert_eq!(together[place].guesses(), prediction.top, "{}", prediction.path.display());
        assert_eq!(classifier.predict(&paths[place]).expect("alone"), together[place]);
        assert_eq!(classifier.predict(&bytes[place]).expect("alone"), together[place]);
        assert_eq!(classifier.predict(&pixels[place]).expect("alone"), together[place]);
    }
    let right = |place: usize, class: &str| together[place].best().class == class;
    assert!((0..3).filter(|&place| right(place, "bag")).count() >= 2);

    let features = classifier.features_batch(&by_path).expect("features");
    let channels = features.len() / paths.len();
    assert_eq!(channels, 1280);
    assert_eq!(
        classifier.features(&pixels[4]).expect("alone"),
        features[4 * channels..5 * channels]
    );
}

#[test]
fn an_image_that_cannot_be_classified_is_named_by_its_number() {
    let mut classifier = Classifier::new(
        regraft::model::Model::embedded().expect("embedded"),
        &InferenceOptions::default(),
    )
    .expect("a classifier");
    let image = RgbImage { width: 8, height: 8, pixels: vec![100; 192] };
    let noise: &[u8] = b"no image";
    let error = classifier.predict_batch(&[(&image).into(), noise.into()]).expect_err("noise");
    assert!(matches!(error, ClassifierError::Bytes { number: 2, .. }), "{error}");
    let short = RgbImage { width: 8, height: 8, pixels: vec![100; 191] };
    let error = classifier.predict(&short).expect_err("a level is missing");
    assert!(matches!(error, ClassifierError::Pixels { number: 1, pixels: 191, .. }), "{error}");
    assert!(matches!(classifier.predict("nowhere.png"), Err(ClassifierError::File(_))));
    assert!(classifier.predict_batch(&[]).expect("nothing").is_empty());
    assert!(Classifier::load("nowhere").is_err());
}

#[test]
fn a_run_that_is_asked_to_stop_says_where_it_stopped() {
    let config = TrainConfig::builder(SAMPLE)
        .image_size(32)
        .head(HeadStart::New)
        .freeze(Freeze::Backbone)
        .lr(1e-3)
        .epochs(2)
        .build()
        .expect("possible");
    let stop = Arc::new(AtomicBool::new(false));
    let settings = Settings {
        destination: Destination::Nowhere,
        stop: Arc::clone(&stop),
        ..Settings::default()
    };
    let outcome = train(&config, &settings, &mut |event| {
        if let Event::Step(step) = event
            && step.epoch.0 == 2
        {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let Ok(Outcome::Stopped(Stop { folder: None, place })) = outcome else {
        panic!("{outcome:?}");
    };
    let Place::Epoch { epoch: 2, epochs: 2, images: 32, of } = place else { panic!("{place}") };
    assert!(of > 32);
}
