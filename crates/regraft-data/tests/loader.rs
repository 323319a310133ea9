//! Batches: order, independence of the number of workers, errors, memory and early end; and the
//! verification of all files.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{preprocessing, source};
use regraft_base::random::{Draws, Purpose};
use regraft_base::share::Share;
use regraft_data::augmentation::{Augmentation, training_pixels};
use regraft_data::cache::DecodedCache;
use regraft_data::catalogue::Sample;
use regraft_data::decode::{DecodeOptions, Decoded};
use regraft_data::loader::{Batch, Loader, LoaderError, LoaderOptions, Transform};
use regraft_data::preprocessing::{ResizeMode, evaluation_pixels};
use regraft_data::verify::verify;
use tempfile::TempDir;

const SIDE: u32 = 8;

/// Images of the fixture stream as bitmaps of different sizes.
fn pictures(count: u32) -> (TempDir, Arc<[Sample]>) {
    let folder = TempDir::new().unwrap();
    let samples = (0..count).map(|place| {
        let path = folder.path().join(format!("{place:03}.png"));
        let image = source(place, 9 + place % 5, 7 + place % 7);
        image::save_buffer(
            &path,
            &image.pixels,
            image.width,
            image.height,
            image::ExtendedColorType::Rgb8,
        )
        .unwrap();
        Sample { path, label: place % 3 }
    });
    let samples = samples.collect();
    (folder, samples)
}

fn options(transform: Transform, workers: usize) -> LoaderOptions {
    let preprocessing = preprocessing(SIDE, ResizeMode::Crop { short_side: 9 });
    LoaderOptions { transform, workers, ..LoaderOptions::new(preprocessing, 4) }
}

fn all(samples: &Arc<[Sample]>, order: &[u32], options: LoaderOptions) -> Vec<Batch> {
    Loader::start(Arc::clone(samples), order.to_vec(), options).map(Result::unwrap).collect()
}

#[test]
fn batches_come_in_order_and_hold_transformed_images() {
    let (_folder, samples) = pictures(11);
    let order: Vec<u32> = vec![10, 3, 7, 0, 1, 2, 4, 9, 8, 6];
    for transform in [Transform::Evaluate, Transform::Train { seed: 9, epoch: 2 }] {
        let options = options(transform, 3);
        let batches = all(&samples, &order, options.clone());
        assert_eq!(batches.iter().map(|batch| batch.indices.len()).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!(
            batches.iter().flat_map(|batch| batch.indices.clone()).collect::<Vec<_>>(),
            order
        );
        for batch in &batches {
            let pictures = batch.pixels.chunks_exact((SIDE * SIDE * 3) as usize);
            assert_eq!(pictures.len(), batch.labels.len());
            for ((picture, &label), &index) in pictures.zip(&batch.labels).zip(&batch.indices) {
                assert_eq!(label, samples[index as usize].label);
                let image = source(index, 9 + index % 5, 7 + index % 7);
                let square = match transform {
                    Transform::Evaluate => evaluation_pixels(&image, &options.preprocessing),
                    Transform::Train { seed, epoch } => {
                        let mut draws = Draws::new(seed, Purpose::Augment, epoch, index);
                        training_pixels(
                            &image,
                            &options.preprocessing,
                            &Augmentation::default(),
                            &mut draws,
                        )
                    }
                };
                assert_eq!(picture, square.pixels, "image {index}");
            }
        }
    }
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let (_folder, samples) = pictures(30);
    let order: Vec<u32> = (0..30).rev().collect();
    let train = Transform::Train { seed: 1, epoch: 0 };
    let one = all(&samples, &order, options(train, 1));
    for workers in [2, 7, 64] {
        assert_eq!(all(&samples, &order, options(train, workers)), one, "{workers} workers");
    }
    let ahead = LoaderOptions { prefetch_batches: 1, ..options(train, 4) };
    assert_eq!(all(&samples, &order, ahead), one);
    let cache = Some(Arc::new(DecodedCache::new(1 << 20)));
    let cached = LoaderOptions { cache, ..options(train, 4) };
    assert_eq!(all(&samples, &order, cached), one);
    assert_ne!(
        all(&samples, &order, options(Transform::Train { seed: 1, epoch: 1 }, 2)),
        one,
        "another epoch, other crops"
    );
}

#[test]
fn an_image_does_not_depend_on_its_batch() {
    let (_folder, samples) = pictures(6);
    let train = Transform::Train { seed: 4, epoch: 3 };
    let together = all(&samples, &[0, 1, 2, 3], options(train, 2));
    let alone = all(&samples, &[2], options(train, 1));
    let length = (SIDE * SIDE * 3) as usize;
    assert_eq!(alone[0].pixels, together[0].pixels[2 * length..3 * length]);
}

#[test]
fn recycled_memory_is_reused() {
    let (_folder, samples) = pictures(24);
    let mut loader = Loader::start(
        samples,
        (0..24).collect(),
        LoaderOptions { prefetch_batches: 1, ..options(Transform::Evaluate, 2) },
    );
    assert_eq!(loader.batches(), 6);
    let mut addresses = std::collections::HashSet::new();
    while let Some(batch) = loader.next() {
        let batch = batch.unwrap();
        addresses.insert(batch.pixels.as_ptr() as usize);
        loader.recycle(batch);
    }
    assert!(addresses.len() < 6, "six batches in {} pieces of memory", addresses.len());
    assert!(loader.waited().as_nanos() > 0);
}

#[test]
fn a_bad_file_is_named_and_ends_the_pass() {
    let (folder, samples) = pictures(12);
    std::fs::write(folder.path().join("006.png"), "no image").unwrap();
    std::fs::write(folder.path().join("005.png"), "").unwrap();
    for workers in [1, 4] {
        let mut loader = Loader::start(
            Arc::clone(&samples),
            (0..12).collect(),
            options(Transform::Evaluate, workers),
        );
        assert!(loader.next().unwrap().is_ok());
        let error = loader.next().unwrap().unwrap_err();
        assert!(
            matches!(&error, LoaderError::Decode(error) if error.path.ends_with("005.png")),
            "the first in order: {error}"
        );
        assert!(error.to_string().contains("005.png: is empty"), "{error}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn a_loader_dropped_early_stops_its_workers() {
    let (_folder, samples) = pictures(40);
    let mut loader =
        Loader::start(Arc::clone(&samples), (0..40).collect(), options(Transform::Evaluate, 3));
    assert!(loader.next().unwrap().is_ok());
    drop(loader);
    assert_eq!(Arc::strong_count(&samples), 1, "no worker holds the samples any more");
    drop(Loader::start(Arc::clone(&samples), (0..40).collect(), options(Transform::Evaluate, 3)));
    assert_eq!(Arc::strong_count(&samples), 1);
    assert!(Loader::start(samples, Vec::new(), options(Transform::Evaluate, 3)).next().is_none());
}

#[test]
fn at_most_the_allowed_batches_are_prepared_ahead() {
    let (folder, samples) = pictures(40);
    let options = LoaderOptions {
        prefetch_batches: 2,
        cache: Some(Arc::new(DecodedCache::new(1 << 20))),
        ..options(Transform::Evaluate, 3)
    };
    let cache = options.cache.clone().unwrap();
    let mut loader = Loader::start(samples, (0..40).collect(), options);
    assert!(loader.next().unwrap().is_ok());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let decoded = cache.size().0;
    assert!(
        (4..=12).contains(&decoded),
        "one batch delivered, two ahead, {decoded} images decoded"
    );
    drop(folder);
}

#[test]
fn all_files_are_checked_and_kept() {
    let (folder, samples) = pictures(9);
    std::fs::write(folder.path().join("007.png"), [b'B', b'M', 0, 0]).unwrap();
    std::fs::remove_file(folder.path().join("002.png")).unwrap();
    let paths: Vec<&Path> = samples.iter().map(|sample| sample.path.as_path()).collect();
    let most = AtomicUsize::new(0);
    let cache = DecodedCache::new(1 << 20);
    let progress = |done: usize| {
        most.fetch_max(done, Ordering::Relaxed);
    };
    let errors = verify(&paths, 3, &DecodeOptions::default(), Some(&cache), &progress).unreadable;
    let failed: Vec<PathBuf> =
        errors.iter().map(|error| PathBuf::from(error.path.file_name().unwrap())).collect();
    assert_eq!(failed, [PathBuf::from("002.png"), PathBuf::from("007.png")]);
    assert_eq!(most.into_inner(), 9);
    assert_eq!(cache.size().0, 7);

    // Cached images are not decoded again: the files are deleted, and training continues.
    drop(folder);
    let good: Vec<u32> = (0..9).filter(|place| ![2, 7].contains(place)).collect();
    let options = LoaderOptions { cache: Some(Arc::new(cache)), ..options(Transform::Evaluate, 2) };
    assert_eq!(all(&samples, &good, options).len(), 2);
}

#[test]
fn the_cache_keeps_its_limit() {
    let cache = DecodedCache::new(1600);
    let whole = DecodeOptions::default();
    let small = |reduction, reducible_side| Decoded {
        image: source(0, 10, 10),
        truncated: false,
        reduction,
        reducible_side,
    };
    let keep = |name: &str| {
        cache.insert(Path::new(name), small(1, 0));
        cache.get(Path::new(name), &whole).is_some()
    };
    assert!(keep("a") && keep("b") && keep("c") && keep("a"));
    assert!(!keep("d"), "a fourth one of 300 bytes with its overhead does not fit");
    assert_eq!(cache.size().0, 3);
    assert!((900..=1600).contains(&cache.size().1));

    // The same file at another size is another image, unless it cannot be reduced.
    let cache = DecodedCache::new(1 << 20);
    cache.insert(Path::new("photo"), small(2, 20));
    cache.insert(Path::new("drawing"), small(1, 0));
    let here = |name, least_side| {
        cache.get(Path::new(name), &DecodeOptions { least_side, ..whole }).is_some()
    };
    assert!(
        here("photo", Some(6))
            && here("photo", Some(10))
            && !here("photo", Some(5))
            && !here("photo", None)
    );
    assert!(here("drawing", Some(1)) && here("drawing", None));
}

#[test]
fn epochs_after_the_first_read_no_file_that_is_kept() {
    let (folder, samples) = pictures(10);
    let picture_bytes: usize = (0..10).map(|place| (9 + place % 5) * (7 + place % 7) * 3).sum();
    for (limit, all_kept) in [(1 << 20, true), (picture_bytes / 2, false)] {
        let cache = Arc::new(DecodedCache::new(limit));
        let of_epoch = |epoch| LoaderOptions {
            cache: Some(Arc::clone(&cache)),
            ..options(Transform::Train { seed: 1, epoch }, 3)
        };
        all(&samples, &(0..10).collect::<Vec<_>>(), of_epoch(0));
        let (kept, bytes) = cache.size();
        assert!(bytes <= limit, "{bytes} of {limit} bytes");
        assert_eq!(kept == 10, all_kept);
        let away = folder.path().with_extension("away");
        std::fs::rename(folder.path(), &away).unwrap();
        let second: Result<Vec<Batch>, _> =
            Loader::start(Arc::clone(&samples), (0..10).collect(), of_epoch(1)).collect();
        std::fs::rename(&away, folder.path()).unwrap();
        assert_eq!(second.is_ok(), all_kept, "limit {limit}");
    }
}

/// Loads a large JPEG at reduced size: the result is the same for any number of workers and with or
/// without a cache, and close to that of the full-size image.
#[test]
fn large_jpegs_are_reduced_the_same_for_any_number_of_workers() {
    let samples: Arc<[Sample]> = (0..6)
        .map(|_| Sample {
            path: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/large/photo_420.jpg"),
            label: 0,
        })
        .collect();
    let preprocessing = preprocessing(SIDE, ResizeMode::Crop { short_side: 9 });
    let base = LoaderOptions { workers: 1, ..LoaderOptions::new(preprocessing, 4) };
    let order: Vec<u32> = (0..6).collect();
    let mut means = Vec::new();
    for transform in [Transform::Evaluate, Transform::Train { seed: 1, epoch: 0 }] {
        let reduced = all(&samples, &order, LoaderOptions { transform, ..base.clone() });
        for workers in [2, 5] {
            assert_eq!(
                all(&samples, &order, LoaderOptions { transform, workers, ..base.clone() }),
                reduced
            );
        }
        let cache = Some(Arc::new(DecodedCache::new(1 << 22)));
        assert_eq!(
            all(&samples, &order, LoaderOptions { transform, cache, ..base.clone() }),
            reduced
        );
        let whole =
            all(&samples, &order, LoaderOptions { transform, full_decode: true, ..base.clone() });
        assert_ne!(whole, reduced);
        let pairs = whole
            .iter()
            .zip(&reduced)
            .flat_map(|(whole, reduced)| whole.pixels.iter().zip(&reduced.pixels));
        let count = pairs.clone().count() as f64;
        means
            .push(pairs.map(|(left, right)| f64::from(left.abs_diff(*right))).sum::<f64>() / count);
    }
    // The image is harder than photographs: fine rings of another colour.
    assert!(means.iter().all(|&mean| mean < 2.0), "{means:?} levels in the mean");
}

/// Each share has its own images of every batch, and together they are the batch; a share that is
/// mixed also has the image before its first one. Labels and indices are those of the whole batch.
#[test]
fn shares_of_a_batch_are_the_batch() {
    let (_folder, samples) = pictures(11);
    let order: Vec<u32> = vec![10, 3, 7, 0, 1, 2, 4, 9, 8];
    let transform = Transform::Train { seed: 9, epoch: 2 };
    let whole = all(&samples, &order, options(transform, 2));
    let length = (SIDE * SIDE * 3) as usize;
    // The last batch has one image, so most of five shares have none of it.
    for size in [2, 3, 5] {
        for workers in [1, 3] {
            let shares: Vec<Vec<Batch>> = Share::all(size)
                .map(|share| {
                    let options = LoaderOptions { share, ..options(transform, workers) };
                    let mixed = LoaderOptions { with_previous: true, ..options.clone() };
                    let own = all(&samples, &order, options);
                    for (batch, whole) in all(&samples, &order, mixed).iter().zip(&whole) {
                        let count = whole.indices.len();
                        let range = share.of(count);
                        let own = &whole.pixels[range.start * length..range.end * length];
                        if range.is_empty() {
                            assert_eq!((&batch.pixels[..], batch.part), (own, Some([0, 0])));
                            continue;
                        }
                        let before = (range.start + count - 1) % count;
                        let before = &whole.pixels[before * length..(before + 1) * length];
                        assert_eq!(batch.pixels, [before, own].concat(), "{share:?}");
                        assert_eq!(batch.part, Some([1, 1 + range.len()]));
                    }
                    own
                })
                .collect();
            for (place, whole) in whole.iter().enumerate() {
                let pixels = shares.iter().flat_map(|share| share[place].pixels.clone());
                assert!(pixels.eq(whole.pixels.iter().copied()), "{size} shares, batch {place}");
                for share in &shares {
                    assert_eq!(share.len(), 3);
                    assert_eq!(share[place].indices, whole.indices);
                    assert_eq!(share[place].labels, whole.labels);
                    let own = share[place].pixels.len() / length;
                    assert_eq!(share[place].part, Some([0, own]));
                }
            }
        }
    }
}
