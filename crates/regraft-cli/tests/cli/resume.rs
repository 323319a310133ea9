//! Resuming a run: the checks, the errors, and that nothing of it differs from a run
//! in one go.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::reproducible::metrics;
use crate::workspace::Workspace;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A training in which everything takes part that a checkpoint has to hold: an optimiser with
/// memory, batch norms that follow their batches, dropout and stochastic depth, and a best epoch.
pub const WHOLE: &str = "--epochs 4 --schedule cosine --image-size 32 --head new --freeze \
    through=blocks.5 --batch-norm batch --optimizer adamw \
                         --lr 1e-3 --batch-size 4 --seed 5 --threads 1 --workers 1";

/// With a checkpoint after each step.
pub const OFTEN: &str = "--checkpoint-every 0s";

/// The same for more epochs, at a constant rate.
pub fn whole_of(epochs: u32) -> String {
    WHOLE.replace("--epochs 4 --schedule cosine", &format!("--epochs {epochs} --schedule constant"))
}

/// Asserts that two runs have left the same, times and threads aside.
#[track_caller]
pub fn assert_same_run(workspace: &Workspace, run: &str, expected: &str) {
    assert_eq!(metrics(workspace, run), metrics(workspace, expected), "metrics of {run}");
    let read = |run: &str| workspace.read(&format!("{run}/model.safetensors"));
    assert!(read(run) == read(expected), "the model of {run} is another one");
    let summary = |run: &str| {
        let mut summary = workspace.json(&format!("{run}/summary.json"));
        for other in ["images_per_second", "wall_seconds", "notes", "device"] {
            summary[other].take();
        }
        summary
    };
    assert_eq!(summary(run), summary(expected), "summary of {run}");
}

/// The checkpoints of a run, oldest first.
pub fn checkpoints(workspace: &Workspace, run: &str) -> Vec<PathBuf> {
    let folder = workspace.path(run).join("checkpoints");
    let names = workspace.names(&format!("{run}/checkpoints"));
    names.iter().filter(|name| name.starts_with("epoch-")).map(|name| folder.join(name)).collect()
}

/// Puts a run back to where it was before it ended: without its last checkpoints and its summary.
pub fn rewind(workspace: &Workspace, run: &str, checkpoints_removed: usize) {
    std::fs::remove_file(workspace.path(run).join("summary.json")).expect("a summary");
    for path in checkpoints(workspace, run).iter().rev().take(checkpoints_removed) {
        std::fs::remove_file(path).expect("a checkpoint");
    }
}

fn flip_a_byte(path: &PathBuf, place: usize) {
    let mut bytes = std::fs::read(path).expect("a checkpoint");
    let place = bytes.len() * place / 100;
    bytes[place] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_run_goes_on_from_its_last_checkpoint_and_from_the_one_before_a_damaged_one() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {WHOLE} --output whole")).succeeded();
    workspace.regraft(&format!("train photos {WHOLE} {OFTEN} --output run")).succeeded();
    let names: Vec<String> = checkpoints(&workspace, "run")
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    // The last two; the one after the last epoch is also the last between two epochs.
    assert_eq!(
        names,
        ["epoch-000003-image-000000008.safetensors", "epoch-000004-image-000000000.safetensors"]
    );

    rewind(&workspace, "run", 1);
    let resumed = workspace.regraft("train --resume run").succeeded();
    assert_says(
        &resumed.stdout,
        &["note: run resumes in epoch 4/4, after 8 images", "epoch 4/4: "],
    );
    assert!(
        !resumed.stdout.contains("epoch 3/4: "),
        "only what was left is done: {}",
        resumed.stdout
    );
    assert_same_run(&workspace, "run", "whole");

    // Wherever a byte differs: in the tensors, in the header.
    for place in [90, 1] {
        rewind(&workspace, "run", 0);
        let last = checkpoints(&workspace, "run").pop().expect("a checkpoint");
        flip_a_byte(&last, place);
        let resumed = workspace.regraft("train --resume run").succeeded();
        assert_says(
            &resumed.stdout,
            &[
                "note: the checkpoint run/checkpoints/epoch-000004-",
                "is damaged",
                "the one before it is used",
            ],
        );
        assert_same_run(&workspace, "run", "whole");
    }

    // Half a file; and no clock decides which is the newest.
    rewind(&workspace, "run", 0);
    let paths = checkpoints(&workspace, "run");
    let bytes = std::fs::read(&paths[1]).expect("a checkpoint");
    std::fs::write(&paths[1], &bytes[..bytes.len() / 2]).expect("written");
    workspace.regraft("train --resume run").succeeded();
    assert_same_run(&workspace, "run", "whole");
    rewind(&workspace, "run", 0);
    let [older, newer] = &checkpoints(&workspace, "run")[..] else { panic!("two checkpoints") };
    let touch = |path: &PathBuf, time| {
        std::fs::File::open(path).and_then(|file| file.set_modified(time)).expect("a time")
    };
    touch(older, SystemTime::now() + Duration::from_secs(3600));
    touch(newer, SystemTime::now() - Duration::from_secs(365 * 24 * 3600));
    let resumed = workspace.regraft("train --resume run").succeeded();
    assert_says(&resumed.stdout, &["note: run resumes after 4 of 4 epochs"]);
    assert_same_run(&workspace, "run", "whole");

    // If none is intact, the run cannot resume, and the files that are there are not overwritten.
    rewind(&workspace, "run", 0);
    checkpoints(&workspace, "run").iter().for_each(|path| flip_a_byte(path, 50));
    let error = workspace.regraft("train --resume run").failed(2);
    assert_says(
        &error,
        &[
            "every checkpoint of run/checkpoints is damaged",
            "epoch-000003-",
            "epoch-000004-",
            "to start the run over",
        ],
    );
    assert!(workspace.read("run/model.safetensors") == workspace.read("whole/model.safetensors"));
}

#[test]
fn a_finished_run_says_so_and_one_without_a_checkpoint_starts_over() {
    let workspace = Workspace::with_photos();
    let quick = "--image-size 32 --head new --epochs 2 --lr 1e-3";
    workspace.regraft(&format!("train photos {quick} --output whole")).succeeded();
    let model = workspace.read("whole/model.safetensors");
    let again = workspace.regraft("train --resume whole").succeeded();
    assert_says(&again.stderr, &["note: whole is complete, with "]);
    let again = workspace.regraft("train --resume whole --json").succeeded();
    assert_eq!(again.json(), workspace.json("whole/summary.json"));
    assert!(workspace.read("whole/model.safetensors") == model);

    let error = workspace.regraft("train --resume whole --lr 0.5").failed(2);
    assert_says(
        &error,
        &[
            "whole cannot be resumed, because it would not be the same run:",
            "lr was 0.001 and is 0.5",
        ],
    );

    workspace.regraft(&format!("train photos {quick} --output run")).succeeded();
    rewind(&workspace, "run", 2);
    let over = workspace.regraft("train --resume run").succeeded();
    assert_says(
        &over.stdout,
        &[
            "note: run has no checkpoint yet, so the run starts from the beginning",
            "epoch 1/2: ",
            "epoch 2/2: ",
        ],
    );
    assert_same_run(&workspace, "run", "whole");

    for (wrong, parts) in [
        ("train --resume nowhere", ["nowhere is not a run folder", "regraft train"]),
        ("train --resume photos", ["photos is not a run folder", "config.toml"]),
        ("train --resume run --output other", ["--resume", "--output"]),
        ("train --resume run --recipe d2l", ["--resume", "--recipe"]),
    ] {
        assert_says(&workspace.regraft(wrong).failed(2), &parts);
    }
}

#[test]
fn other_options_and_other_pictures_are_refused_and_listed() {
    let workspace = Workspace::with_photos();
    workspace
        .regraft("train photos --image-size 32 --head new --epochs 2 --lr 1e-3 --output run")
        .succeeded();
    rewind(&workspace, "run", 1);
    let state = || {
        (
            workspace.read("run/model.safetensors"),
            workspace.names("run/checkpoints"),
            workspace.text("run/config.toml"),
        )
    };
    let before = state();
    let error = workspace
        .regraft("train --resume run --lr 1e-2 --batch-size 8 --epochs 3 --optimizer adamw")
        .failed(2);
    assert_says(
        &error,
        &[
            "run cannot be resumed, because it would not be the same run:",
            "lr was 0.001 and is 0.01",
            "batch_size was 32 and is 8",
            "epochs was 2 and is 3, which only a constant schedule allows",
            "optimizer was sgd and is adamw",
        ],
    );
    assert!(state() == before, "nothing was touched");

    std::fs::rename(
        workspace.path("photos/train/blue/1.png"),
        workspace.path("photos/train/striped/new.png"),
    )
    .expect("moved");
    std::fs::rename(
        workspace.path("photos/test/blue/0.jpg"),
        workspace.path("photos/train/blue/0b.jpg"),
    )
    .expect("moved");
    workspace.pictures("other", Look::Green, 1);
    std::fs::copy(workspace.path("other/0.jpg"), workspace.path("photos/val/blue/0.jpg"))
        .expect("copied");
    let error = workspace.regraft("train --resume run").failed(2);
    assert_says(
        &error,
        &[
            "train/blue/1.png is gone (train image of blue)",
            "test/blue/0.jpg is gone (test image of blue)",
            "val/blue/0.jpg has another content",
            "train/striped/new.png is new (train image of striped)",
            "train/blue/0b.jpg is new (train image of blue)",
            "hint: undo these changes, or start another run",
        ],
    );
    assert!(state() == before, "nothing was touched");
}

#[test]
fn threads_workers_and_a_moved_folder_are_no_other_run() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {WHOLE} --output whole")).succeeded();
    workspace.regraft(&format!("train photos {WHOLE} --output run")).succeeded();
    rewind(&workspace, "run", 1);
    std::fs::rename(workspace.path("photos"), workspace.path("images")).expect("moved");
    std::fs::rename(workspace.path("run"), workspace.path("moved")).expect("moved");
    workspace
        .regraft(
            "train images --resume moved --threads 3 --workers 2 --checkpoint-every \
        1h --on-nan retry",
        )
        .succeeded();
    assert_same_run(&workspace, "moved", "whole");
}

#[test]
fn a_constant_schedule_can_train_longer() {
    let workspace = Workspace::with_photos();
    let options = "--image-size 32 --head new --lr 1e-3 --schedule constant --warmup 0.5";
    workspace.regraft(&format!("train photos {options} --epochs 4 --output whole")).succeeded();
    workspace.regraft(&format!("train photos {options} --epochs 2 --output run")).succeeded();
    let error = workspace.regraft("train --resume run --epochs 1").failed(2);
    assert_says(&error, &["epochs was 2 and is 1, but 2 are done"]);
    let longer = workspace.regraft("train --resume run --epochs 4").succeeded();
    assert_says(
        &longer.stdout,
        &["note: run resumes after 2 of 4 epochs", "epoch 3/4: ", "epoch 4/4: "],
    );
    assert_same_run(&workspace, "run", "whole");
    assert_says(&workspace.text("run/config.toml"), &["epochs = 4"]);
    let ended = workspace.regraft("train --resume run").succeeded();
    assert_says(&ended.stderr, &["note: run is complete, with "]);
}

#[test]
fn every_way_to_fine_tune_goes_on_to_the_bit() {
    let workspace = Workspace::with_photos();
    for (place, way) in [
        "--head new --freeze gradual=1 --batch-norm batch --epochs 3 --schedule cosine",
        "--head fit --epochs 2 --schedule cosine",
        "--head fit --freeze none --epochs 2",
        "--head new --views 2 --epochs 3 --label-smoothing 0.1",
        "--freeze none --layer-decay 0.5 --epochs 2 --recipe d2l",
        "--head new --freeze through=blocks.5 --ema 0.9 --mixup 0.2 --cutmix 1 --random-erasing \
         0.5 --head-dropout 0.3 --epochs 2",
        "--head new --freeze through=blocks.5 --clip-gradient 0.5 --balance weights --optimizer \
         adamw --epochs 2",
    ]
    .into_iter()
    .enumerate()
    {
        let (whole, run) = (format!("whole{place}"), format!("run{place}"));
        for output in [&whole, &run] {
            workspace
                .regraft(&format!(
                    "train photos {way} --image-size 32 --batch-size 4 {OFTEN} \
                    --output {output}"
                ))
                .succeeded();
        }
        rewind(&workspace, &run, 1);
        let resumed = workspace.regraft(&format!("train --resume {run}")).succeeded();
        assert_says(&resumed.stdout, &["resumes in epoch ", ", after 8 images"]);
        assert_same_run(&workspace, &run, &whole);
    }
}

#[test]
fn accumulated_gradients_and_early_stopping_go_on_to_the_bit() {
    let workspace = Workspace::with_photos();
    let accumulate = format!(
        "--image-size 32 --head new --freeze through=blocks.5 --batch-size 2 --accumulate 2 \
         --epochs 2 {OFTEN}"
    );
    let patience = "--image-size 32 --head new --lr 1e-9 --epochs 9 --patience 2";
    for (way, name) in [(&*accumulate, "accumulate"), (patience, "patience")] {
        let (whole, run) = (format!("{name}-whole"), format!("{name}-run"));
        for output in [&whole, &run] {
            workspace.regraft(&format!("train photos {way} --output {output}")).succeeded();
        }
        // A run that ran out of patience has ended, though epochs are left.
        let ended = workspace.regraft(&format!("train --resume {run}")).succeeded();
        assert_says(&ended.stderr, &[" is complete"]);
        rewind(&workspace, &run, 1);
        let resumed = workspace.regraft(&format!("train --resume {run}")).succeeded();
        assert_says(&resumed.stdout, &["resumes "]);
        assert_same_run(&workspace, &run, &whole);
    }
}

#[test]
fn another_instruction_set_is_said_and_stands_in_the_summary() {
    let workspace = Workspace::with_photos();
    let quick = "--image-size 32 --head new --epochs 2 --lr 1e-3 --output run";
    workspace
        .regraft_with(&format!("train photos {quick}"), &[("REGRAFT_ISA", "portable")])
        .succeeded();
    assert_eq!(workspace.json("run/summary.json")["instruction_set"], "portable");
    rewind(&workspace, "run", 1);
    let resumed = workspace.regraft("train --resume run").succeeded();
    let summary = workspace.json("run/summary.json");
    if summary["instruction_set"] == "portable" {
        eprintln!(
            "SKIPPED: another_instruction_set...: this machine has none but the portable one"
        );
        return;
    }
    let said = "the run began with the instruction set portable and continues with ";
    assert_says(&resumed.stdout, &[said, "(REGRAFT_ISA=portable asks for the first)"]);
    assert_says(&summary["notes"].to_string(), &[said]);
}
