//! Features of images, and their keeping on disk.
#![cfg(feature = "embedded")]

use image::{Rgb, RgbImage};
use regraft::config::PrecisionChoice;
use regraft::data::augmentation::Augmentation;
use regraft::data::catalogue::Sample;
use regraft::data::loader::{Loader, LoaderOptions, Transform};
use regraft::engines::DeviceChoice;
use regraft::features::{
    FeatureStore, Features, LIMIT_BYTES, StoreError, features, trunk_fingerprint, trunk_output,
};
use regraft::model::Model;
use regraft::nn::engine::{Engine, Input};
use regraft::ranks::Ranks;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Five small images, an engine with the embedded model at 32 pixels, and a folder to keep
/// features in.
struct Bench {
    folder: TempDir,
    samples: Arc<[Sample]>,
    engine: Box<dyn Engine>,
    loading: LoaderOptions,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let samples: Vec<Sample> = (0..5)
            .map(|number| {
                let path = folder.path().join(format!("{number}.png"));
                write_picture(&path, number);
                Sample { path, label: number % 2 }
            })
            .collect();
        let mut model = Model::embedded().expect("it is built in");
        model.preprocessing.image_size = 32;
        let engine = regraft::inference::engine(
            &model,
            &DeviceChoice::Auto,
            1,
            PrecisionChoice::F32,
            &Ranks::default(),
        )
        .expect("an engine");
        let loading = LoaderOptions { workers: 1, ..LoaderOptions::new(model.preprocessing, 2) };
        Self { folder, samples: samples.into(), engine, loading }
    }

    fn store(&mut self, limit: u64) -> FeatureStore {
        let fingerprint =
            trunk_fingerprint(&mut *self.engine, &self.loading.preprocessing).expect("it fits");
        FeatureStore::new(&self.kept(), fingerprint, limit)
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn features(&mut self, store: Option<&mut FeatureStore>) -> Features {
        features(&mut *self.engine, &self.samples, &self.loading, store, &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("readable images")
    }

    fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.kept().join("features"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        folders
            .flat_map(|folder| {
                fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
            })
            .collect()
    }
}

fn write_picture(path: &Path, number: u32) {
    let color = |x: u32, y: u32| {
        Rgb([(x * 5 + number * 40) as u8, (y * 4) as u8, (x * y * (number + 1) / 7) as u8])
    };
    RgbImage::from_fn(40 + number, 36, color).save(path).expect("an image");
}

#[test]
fn features_are_what_the_trunk_gives_and_are_found_again() {
    let mut bench = Bench::new();
    let (node, channels) = trunk_output(bench.engine.graph()).expect("a backbone");
    let computed = bench.features(None);
    assert_eq!(
        (computed.channels, computed.values.len(), computed.found),
        (channels, 5 * channels, 0)
    );
    let mut loader = Loader::start(Arc::clone(&bench.samples), vec![3], bench.loading.clone());
    let picture = loader.next().expect("a batch").expect("readable");
    let input = Input::pixels(&picture.pixels, bench.loading.preprocessing.normalisation());
    assert!(computed.row(3) == bench.engine.features(input, 1, node).expect("it fits"));

    let mut store = bench.store(LIMIT_BYTES);
    let first = bench.features(Some(&mut store));
    let again = bench.features(Some(&mut store));
    assert_eq!((first.found, again.found), (0, 5));
    assert!(first.values == computed.values && again.values == computed.values);
    // An image that was changed, and one that was moved.
    write_picture(&bench.samples[1].path, 9);
    let moved = bench.folder.path().join("moved.png");
    fs::rename(&bench.samples[4].path, &moved).expect("moved");
    let mut samples = bench.samples.to_vec();
    samples[4].path = moved;
    bench.samples = samples.into();
    let changed = bench.features(Some(&mut store));
    assert_eq!(changed.found, 4);
    assert!(changed.row(1) != first.row(1) && changed.row(4) == first.row(4));
    assert!(store.take_errors().is_empty());
}

#[test]
fn a_view_is_kept_with_its_draws_and_a_trunk_with_its_weights() {
    let mut bench = Bench::new();
    let mut store = bench.store(LIMIT_BYTES);
    let evaluated = bench.features(Some(&mut store));
    let mut view = |bench: &mut Bench, seed, epoch, augmentation: Augmentation| {
        bench.loading.transform = Transform::Train { seed, epoch };
        bench.loading.augmentation = augmentation;
        bench.features(Some(&mut store))
    };
    let first = view(&mut bench, 1, 0, Augmentation::default());
    for (seed, epoch) in [(1, 1), (2, 0)] {
        let other = view(&mut bench, seed, epoch, Augmentation::default());
        assert!(other.found == 0 && other.values != first.values, "seed {seed}, view {epoch}");
    }
    let wider =
        view(&mut bench, 1, 0, Augmentation { crop_scale: [0.5, 1.0], ..Augmentation::default() });
    assert!(wider.found == 0 && wider.values != first.values);
    let again = view(&mut bench, 1, 0, Augmentation::default());
    assert!(again.found == 5 && again.values == first.values);
    // Training images that are not varied are those of evaluation.
    let plain = Augmentation {
        kind: regraft::data::augmentation::AugmentationKind::None,
        ..Augmentation::default()
    };
    let plain = view(&mut bench, 3, 2, plain);
    assert!(plain.found == 5 && plain.values == evaluated.values);

    let before =
        trunk_fingerprint(&mut *bench.engine, &bench.loading.preprocessing).expect("it fits");
    let mut state = bench.engine.state();
    state.get_mut("classifier.bias").expect("a head")[0] += 1.0;
    bench.engine.load_state(&state).expect("it fits");
    assert_eq!(
        trunk_fingerprint(&mut *bench.engine, &bench.loading.preprocessing).expect("it fits"),
        before,
        "the head is no backbone"
    );
    state.get_mut("blocks.6.0.bn3.bias").expect("a backbone")[0] += 1e-6;
    bench.engine.load_state(&state).expect("it fits");
    assert_ne!(
        trunk_fingerprint(&mut *bench.engine, &bench.loading.preprocessing).expect("it fits"),
        before
    );
}

#[test]
fn damage_is_noticed_and_mended() {
    let mut bench = Bench::new();
    let mut store = bench.store(LIMIT_BYTES);
    let expected = bench.features(Some(&mut store)).values;
    let [file] = &bench.files()[..] else {
        panic!("one pass leaves one file: {:?}", bench.files())
    };
    let whole = fs::read(file).expect("a file");
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 4;
        bytes
    };
    let last = whole.len() - 1;
    // The start, the header's numbers and keys, a value and a checksum; cut off; empty; with a
    // number of rows beyond all memory.
    let mut enormous = whole.clone();
    enormous[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases = [
        flipped(0),
        flipped(16),
        flipped(40),
        flipped(last - 100),
        flipped(last),
        whole[..last].to_vec(),
        Vec::new(),
        enormous,
    ];
    for (case, bytes) in cases.into_iter().enumerate() {
        fs::write(file, bytes).expect("written");
        let found = bench.features(Some(&mut store));
        assert!(found.values == expected && found.found < 5, "case {case}");
        let errors = store.take_errors();
        assert!(
            matches!(&errors[..], [StoreError::Damaged { path, .. }] if path == file),
            "case {case}: {errors:?}"
        );
        // The missing features are kept again.
        assert_eq!(bench.features(Some(&mut store)).found, 5 - found.found, "case {case}");
        bench.files().iter().for_each(|file| fs::remove_file(file).expect("removed"));
    }
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let mut bench = Bench::new();
    // One pass takes 5 x (32 + 1280 x 4 + 4) bytes and a header.
    let mut store = bench.store(60_000);
    let pass = |bench: &mut Bench, store: &mut FeatureStore, epoch| {
        bench.loading.transform = Transform::Train { seed: 1, epoch };
        bench.features(Some(store)).found
    };
    for epoch in 0..2 {
        assert_eq!(pass(&mut bench, &mut store, epoch), 0);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(pass(&mut bench, &mut store, 0), 5, "both fit");
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(pass(&mut bench, &mut store, 2), 0);
    assert_eq!(bench.files().len(), 2);
    assert_eq!(pass(&mut bench, &mut store, 0), 5, "used before the third came");
    assert_eq!(pass(&mut bench, &mut store, 1), 0, "used longest ago");
    assert!(store.take_errors().is_empty());
}

#[test]
fn a_folder_that_cannot_be_used_is_reported_and_stops_nothing() {
    let mut bench = Bench::new();
    fs::write(bench.kept(), "in the way").expect("written");
    let mut store = bench.store(LIMIT_BYTES);
    let computed = bench.features(Some(&mut store));
    assert!(computed.values == bench.features(None).values);
    let errors = store.take_errors();
    assert!(errors.iter().any(|error| error.to_string().contains("REGRAFT_CACHE")), "{errors:?}");
}
