//! Numbers that make no sense, are far too large, or ask for more memory than there is.

use crate::outcome::{Outcome, assert_says};
use crate::workspace::{QUICK, Workspace};

/// Memory that the program may have, in KiB: far more than any of these commands needs.
const MEMORY_KIB: u64 = 4_000_000;

fn limited(workspace: &Workspace, arguments: &str) -> Outcome {
    let cache = workspace.path("cache");
    // `timeout` has exit code 124 if it ends the program.
    workspace.shell(&format!(
        "ulimit -v {MEMORY_KIB}; REGRAFT_CACHE='{}' timeout 60 \"$REGRAFT\" {arguments}",
        cache.display()
    ))
}

/// A refusal that names the option.
#[track_caller]
fn refused(workspace: &Workspace, arguments: &str, words: &str) {
    let outcome = limited(workspace, arguments);
    assert_eq!(outcome.code, Some(2), "{arguments}\n{}", outcome.stderr);
    assert_says(&outcome.stderr, &[words]);
    assert!(!outcome.stderr.contains("panicked"), "{arguments}\n{}", outcome.stderr);
}

const HUGE: [&str; 3] = ["4294967295", "18446744073709551615", "99999999999999999999"];

#[test]
fn counts_out_of_range_are_refused_by_name() {
    let workspace = Workspace::with_photos();
    let train = format!("train photos {QUICK}");
    let steps = "train photos --image-size 32 --freeze backbone --head new";
    for (command, option, is_zero_possible) in [
        (&*train, "--batch-size", false),
        (&train, "--accumulate", false),
        (steps, "--epochs", false),
        (&train, "--views", false),
        (&train, "--threads", true),
        (&train, "--workers", true),
        ("train photos --freeze none --head new", "--image-size", false),
        ("bench step", "--batch", false),
        ("bench step", "--steps", false),
        ("bench step", "--classes", false),
        ("bench step", "--threads", true),
        ("bench load photos", "--batch", false),
        ("bench load photos", "--epochs", false),
        ("bench load photos", "--image-size", false),
        ("bench load photos", "--workers", true),
        ("lr-find photos --freeze none", "--steps", false),
        ("compare photos", "--seeds", false),
        ("compare photos", "--epochs", false),
        ("compare photos", "--image-size", false),
        ("inspect resnet18", "--image-size", false),
        ("audit photos --files-only", "--threads", true),
    ] {
        let name = option.trim_start_matches('-');
        for value in HUGE.into_iter().chain(["-1", "nan", "1.5", ""]) {
            let value = if value.is_empty() { "''" } else { value };
            let command = command
                .replace(" --epochs 2", "")
                .replace("train photos --image-size 32", "train photos");
            refused(
                &workspace,
                &format!("{command} {option}={value}"),
                &name.replace("image-size", "size"),
            );
        }
        if !is_zero_possible {
            refused(
                &workspace,
                &format!("{} {option}=0", command.replace(" --epochs 2", "")),
                &name.replace("image-size", "size"),
            );
        }
    }
    assert!(!workspace.path("runs").exists());
}

#[test]
fn rates_and_shares_out_of_range_are_refused_by_name() {
    let workspace = Workspace::with_photos();
    for option in [
        "--lr",
        "--head-lr-mult",
        "--layer-decay",
        "--momentum",
        "--weight-decay",
        "--batch-norm-momentum",
        "--warmup",
        "--label-smoothing",
        "--clip-gradient",
        "--ema",
        "--mixup",
        "--cutmix",
        "--random-erasing",
        "--head-dropout",
        "--val-fraction",
    ] {
        for value in ["-1", "nan", "inf", "1e39"] {
            let outcome = limited(
                &workspace,
                &format!("train photos {QUICK} {option}={value}").replace(" --lr 1e-3", ""),
            );
            assert_eq!(outcome.code, Some(2), "{option} {value}\n{}", outcome.stderr);
            assert!(!outcome.stderr.contains("panicked"), "{option} {value}\n{}", outcome.stderr);
        }
    }
    refused(
        &workspace,
        &format!("train photos {QUICK} --seed 18446744073709551615"),
        "seed is 18446744073709551615; it has to be at most 9223372036854775807",
    );
    for command in [
        &*format!("train photos {QUICK}"),
        "predict run photos",
        "evaluate run photos",
        "audit photos",
    ] {
        for pixels in ["4294967297", "18446744073709551614"] {
            refused(
                &workspace,
                &format!("{command} --max-pixels {pixels}"),
                "it has to be from 1 to 4294967296",
            );
        }
    }
    for value in ["nan,1", "0,1", "1,0.5", "-1,1", "0.5,2", "1e39,1"] {
        refused(&workspace, &format!("train photos {QUICK} --crop-scale={value}"), "crop");
    }
}

#[test]
fn what_the_machine_has_no_memory_for_is_refused_before_it_is_taken() {
    let workspace = Workspace::with_photos();
    // An evaluation's batch of 32 images of 268 megapixels takes a terabyte.
    refused(
        &workspace,
        "train photos --freeze none --head new --image-size 16384 --resize squash",
        "16384 x 16384 pixels takes about",
    );
    refused(&workspace, "bench step --batch 65536", "choose a smaller batch or image size");
    refused(
        &workspace,
        "bench step --mode eval --batch 65536 --model resnet152",
        "a batch of 65536 images",
    );
}

#[test]
fn a_batch_larger_than_the_data_set_takes_no_more_than_the_data_set() {
    let workspace = Workspace::with_photos();
    for options in [
        "--batch-size 65536",
        "--batch-size 65536 --accumulate 65536",
        "--batch-size 1 --accumulate 65536",
    ] {
        limited(&workspace, &format!("train photos {QUICK} {options}")).succeeded();
    }
    limited(&workspace, "train photos --budget 60s --batch-size 65536 --image-size 64").succeeded();
    limited(&workspace, "bench load photos --batch 65536 --epochs 1 --image-size 4096").succeeded();
    limited(
        &workspace,
        "lr-find photos --freeze none --head new --image-size 32 --steps 10 --batch-size 65536",
    )
    .succeeded();
}

#[test]
fn extreme_numbers_that_mean_something_work() {
    let workspace = Workspace::with_photos();
    for options in [
        "--seed 9223372036854775807",
        "--max-pixels 4294967296",
        "--threads 1 --workers 1024",
        "--patience 4294967295",
        "--checkpoint-every 99999999999h",
        "--cache-images 18446744073709551615",
        "--mixup 1e30",
        "--cutmix 1e-30",
        "--clip-gradient 1e-38",
        "--layer-decay 1e-38",
    ] {
        limited(&workspace, &format!("train photos {QUICK} {options}")).succeeded();
    }
    limited(&workspace, "predict runs/photos photos/test --top 4294967295 --max-pixels 4294967296")
        .succeeded();
    limited(
        &workspace,
        "show photos -o grid.png --per-class 18446744073709551615 --classes 18446744073709551615",
    )
    .succeeded();
    limited(&workspace, "show photos -o grid.png --epoch 4294967295 --seed 7").succeeded();
    limited(&workspace, "audit photos --files-only --seed 9223372036854775807").succeeded();
    let outcome = limited(&workspace, "train photos --budget 1ms --image-size 32").failed(2);
    assert_says(&outcome, &["--budget"]);
    let outcome = limited(&workspace, "train photos --budget 0s --image-size 32").failed(2);
    assert_says(&outcome, &["--budget"]);
}

#[test]
fn a_number_out_of_range_is_named_as_it_was_given() {
    let workspace = Workspace::with_photos();
    for (options, says) in [
        ("--lr 1e-300", "invalid value '1e-300'"),
        ("--ema 0.99999999", "invalid value '0.99999999'"),
        ("--lr 1e39", "it is too large for a 32-bit number"),
        ("--accumulate=-1", "it is not in 0..=4294967295"),
        ("--patience 0", "it is not in 1..=4294967295"),
        ("--views 0", "it is not in 1..=4294967295"),
        ("--val-fraction 1e308", "the validation fraction is 1e308:"),
    ] {
        refused(&workspace, &format!("train photos --image-size 32 {options}"), says);
    }
}

/// The system refuses a thread whose stack would be larger than the address space, as it does
/// beyond a limit on processes.
#[cfg(target_os = "linux")]
#[test]
fn threads_that_the_system_refuses_are_an_error_that_says_so() {
    let workspace = Workspace::with_photos();
    for command in [
        "train photos --output run",
        "predict --model efficientnet_lite0 photos/test/blue/0.jpg",
        "audit photos",
        "bench step",
        "bench load photos",
    ] {
        let error =
            workspace.regraft_with(command, &[("RUST_MIN_STACK", "140737488355328")]).failed(2);
        assert_says(
            &error,
            &[
                "error: cannot start ",
                " thread",
                "the system limits processes or memory",
                "raise the limit",
            ],
        );
    }
    assert!(!workspace.path("run").exists());
}
