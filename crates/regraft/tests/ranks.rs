//! Several ranks of a run against one process with as many engines. Here the ranks are threads;
//! over MPI they are processes (`regraft-cli/tests/mpi.rs`).
#![allow(missing_docs)]

use regraft::TrainConfig;
use regraft::config::{BatchNormMode, Freeze, HeadStart, OnNan};
use regraft::engines::DeviceChoice;
use regraft::nn::collective::Threads;
use regraft::nn::engine::State;
use regraft::ranks::Ranks;
use regraft::run_folder::NewFolder;
use regraft::train::{Destination, Event, Finished, Outcome, Settings, TrainError, train};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample/fashion");

/// Some images of three classes: 27 to train on, 12 to choose the epoch, 9 to test.
fn photos() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (part, from, count) in
        [("train", "train", 0..9), ("val", "train", 9..13), ("test", "test", 0..3)]
    {
        for class in ["bag", "trouser", "coat"] {
            let source = Path::new(SAMPLE).join(from).join(class);
            let mut paths: Vec<_> = std::fs::read_dir(source)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            paths.sort();
            let into = folder.path().join(part).join(class);
            std::fs::create_dir_all(&into).expect("a folder");
            for path in &paths[count.clone()] {
                std::fs::copy(path, into.join(path.file_name().expect("a name"))).expect("a copy");
            }
        }
    }
    folder
}

/// All layers learn, with everything that depends on an image's place in its batch.
fn config(folder: &Path) -> TrainConfig {
    let mut config = TrainConfig::builder(folder)
        .image_size(32)
        .freeze(Freeze::None)
        .head(HeadStart::New)
        .lr(3e-3)
        .epochs(2)
        .batch_size(10_usize)
        .build()
        .expect("possible");
    config.mixup = 0.4;
    config.head_dropout = Some(0.2);
    config.device = DeviceChoice::try_from("cpu".to_owned()).expect("a device");
    config.threads = 1;
    config.workers = 1;
    config
}

/// A run in one process, on these devices.
fn alone(config: &TrainConfig, device: &str) -> Finished {
    let mut config = config.clone();
    config.device = DeviceChoice::try_from(device.to_owned()).expect("a device");
    let settings = Settings { destination: Destination::Nowhere, ..Settings::default() };
    finished(train(&config, &settings, &mut |_| {}))
}

fn finished(outcome: Result<Outcome, TrainError>) -> Finished {
    match outcome.expect("a run") {
        Outcome::Finished(run) => *run,
        Outcome::Stopped(stop) => panic!("stopped {}", stop.place),
    }
}

/// The results of several ranks that do the same work together.
fn together<R: Send>(size: usize, work: impl Fn(Ranks) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = Threads::new(size)
            .into_iter()
            .map(|rank| {
                scope.spawn(move || {
                    let _watch = rank.watch();
                    work(Ranks::new(Box::new(rank)))
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("no rank panics")).collect()
    })
}

fn run(config: &TrainConfig, ranks: Ranks, destination: Destination) -> Finished {
    let settings = Settings { destination, ranks, ..Settings::default() };
    finished(train(config, &settings, &mut |_| {}))
}

fn network(run: &Finished) -> State {
    run.model.as_ref().expect("nothing was written").state.clone()
}

/// The scores of all epochs that do not depend on a clock.
fn scores(run: &Finished) -> String {
    let summary = &run.summary;
    format!(
        "{:?}",
        (
            summary.train_loss,
            summary.train_accuracy,
            summary.val_accuracy,
            summary.test_loss,
            summary.test_accuracy,
            summary.best_epoch,
            &summary.temperature,
        )
    )
}

#[test]
fn ranks_train_what_as_many_engines_of_one_process_train_to_the_bit() {
    let folder = photos();
    let running = config(folder.path());
    let mut batch = running.clone();
    batch.batch_norm = Some(BatchNormMode::Batch);
    batch.ema = Some(0.9);
    let mut synced = batch.clone();
    synced.sync_batch_norm = true;
    synced.accumulate = 2;
    for (name, config, sizes) in
        [("running", running, &[2, 3, 4][..]), ("batch", batch, &[2]), ("synced", synced, &[3])]
    {
        for &size in sizes {
            let expected = alone(&config, &format!("cpu*{size}"));
            let found = together(size, |ranks| run(&config, ranks, Destination::Nowhere));
            for (rank, found) in found.iter().enumerate() {
                assert_eq!(scores(found), scores(&expected), "{name}, rank {rank} of {size}");
                assert!(network(found) == network(&expected), "{name}, rank {rank} of {size}");
            }
        }
    }
}

#[test]
fn a_fitted_head_is_the_same_for_any_number_of_ranks() {
    let folder = photos();
    for freeze in [Freeze::Backbone, Freeze::None] {
        let mut config = config(folder.path());
        config.head = Some(HeadStart::Fit);
        config.freeze = Some(freeze.clone());
        config.mixup = 0.0;
        let is_frozen = freeze == Freeze::Backbone;
        config.epochs = Some(u32::from(!is_frozen));
        config.lr = None;
        for size in [2, 3] {
            let device = if is_frozen { "cpu".to_owned() } else { format!("cpu*{size}") };
            let expected = alone(&config, &device);
            let found = together(size, |ranks| run(&config, ranks, Destination::Nowhere));
            for found in &found {
                assert_eq!(scores(found), scores(&expected), "{freeze:?}, {size} ranks");
                assert!(network(found) == network(&expected), "{freeze:?}, {size} ranks");
            }
        }
    }
}

#[test]
fn a_stop_of_one_rank_stops_all_with_a_checkpoint_that_any_number_resumes() {
    let folder = photos();
    let config = config(folder.path());
    let expected = together(2, |ranks| run(&config, ranks, Destination::Nowhere));
    for resumed_by in [2, 1, 3] {
        let path = folder.path().join(format!("run{resumed_by}"));
        let stopped = together(2, |ranks| {
            let stop = Arc::new(AtomicBool::new(false));
            let is_last = ranks.rank() == 1;
            let place = NewFolder::At(path.clone());
            let settings = Settings {
                destination: Destination::New(place),
                stop: Arc::clone(&stop),
                ranks,
                ..Settings::default()
            };
            train(&config, &settings, &mut |event| {
                if let Event::Step(step) = event
                    && is_last
                    && step.epoch.0 == 2
                {
                    stop.store(true, Ordering::Relaxed);
                }
            })
        });
        for outcome in stopped {
            let Ok(Outcome::Stopped(stop)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(stop.place.to_string(), "in epoch 2/2, after 10 of 27 images");
            assert_eq!(stop.folder.as_deref(), Some(&*path));
        }
        let found =
            together(resumed_by, |ranks| run(&config, ranks, Destination::Resume(path.clone())));
        let notes = found[0].summary.notes.join("\n");
        let says = notes.contains("the run began with 2 ranks and continues with");
        assert_eq!(says, resumed_by != 2, "{notes}");
        let resumed = regraft::model::Model::load(&path, None).expect("a model").state;
        if resumed_by == 2 {
            assert!(resumed == network(&expected[0]), "as if it had not been interrupted");
        } else {
            let worst = worst_difference(&resumed, &network(&expected[0]));
            assert!(worst < 1e-4, "{resumed_by}: {worst}");
        }
    }
}

/// The largest difference of a tensor's elements, relative to its largest one.
fn worst_difference(found: &State, expected: &State) -> f32 {
    let of = |(name, values): (&String, &Vec<f32>)| {
        let largest = expected[name].iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
        let differences =
            values.iter().zip(&expected[name]).map(|(found, expected)| (found - expected).abs());
        differences.fold(0.0, f32::max) / largest
    };
    found.iter().map(of).fold(0.0, f32::max)
}

#[test]
fn what_fails_in_one_rank_ends_all_of_them() {
    let folder = photos();
    let mut diverging = config(folder.path());
    diverging.lr = Some(1e12);
    diverging.on_nan = OnNan::Stop;
    let outcomes = together(3, |ranks| {
        let settings = Settings { destination: Destination::Nowhere, ranks, ..Settings::default() };
        train(&diverging, &settings, &mut |_| {})
    });
    for outcome in outcomes {
        let error = outcome.expect_err("a rate of 10^12").to_string();
        assert!(error.starts_with("the training diverged"), "{error}");
    }

    // A folder that one rank cannot write.
    let config = config(folder.path());
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "no folder").expect("a file");
    let outcomes = together(2, |ranks| {
        let destination = Destination::New(NewFolder::At(taken.clone()));
        let settings = Settings { destination, ranks, ..Settings::default() };
        train(&config, &settings, &mut |_| {})
    });
    let errors: Vec<TrainError> =
        outcomes.into_iter().map(|outcome| outcome.expect_err("a file is there")).collect();
    assert!(matches!(errors[0], TrainError::RunFolder(_)), "{:?}", errors[0]);
    assert!(matches!(errors[1], TrainError::Peer { .. }), "{:?}", errors[1]);
}

#[test]
fn ranks_with_other_images_are_refused() {
    let (one, other) = (photos(), photos());
    std::fs::remove_file(
        std::fs::read_dir(other.path().join("train/bag"))
            .expect("a folder")
            .next()
            .expect("an image")
            .expect("an entry")
            .path(),
    )
    .expect("removed");
    let outcomes = together(2, |ranks| {
        let folder = if ranks.is_first() { &one } else { &other };
        let settings = Settings { destination: Destination::Nowhere, ranks, ..Settings::default() };
        train(&config(folder.path()), &settings, &mut |_| {})
    });
    for outcome in outcomes {
        let error = outcome.expect_err("an image is missing").to_string();
        assert!(
            error.contains("rank 1 finds other images") && error.contains("47 images"),
            "{error}"
        );
    }
}

#[test]
fn a_run_that_diverged_goes_back_in_all_ranks() {
    let folder = photos();
    let mut config = config(folder.path());
    config.on_nan = OnNan::Retry;
    config.lr = Some(1e12);
    let path = folder.path().join("run");
    let outcomes = together(2, |ranks| {
        let destination = Destination::New(NewFolder::At(path.clone()));
        let settings = Settings { destination, ranks, ..Settings::default() };
        let mut notes = Vec::new();
        let outcome = train(&config, &settings, &mut |event| {
            if let Event::Note(note) = event {
                notes.push(note.to_string());
            }
        });
        (outcome, notes)
    });
    for (outcome, notes) in outcomes {
        let error = outcome.expect_err("half of that is too much too").to_string();
        assert!(error.starts_with("the training diverged"), "{error}");
        let notes = notes.join("\n");
        assert!(notes.contains("with half the learning rate"), "{notes}");
    }
}
