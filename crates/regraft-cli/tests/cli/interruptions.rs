//! Runs that are killed, or asked to end, at any moment.

#![cfg(unix)]

use crate::outcome::{Outcome, assert_says};
use crate::resume::{OFTEN, WHOLE, assert_same_run, checkpoints, whole_of};
use crate::workspace::Workspace;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How many times a run is killed; `REGRAFT_KILLS` asks for more.
fn kills() -> u32 {
    std::env::var("REGRAFT_KILLS").map_or(6, |text| text.parse().expect("REGRAFT_KILLS is a number"))
}

/// Kills the program the hard way, again and again, and lets it go on each time, until it has ended. Half of the kills come at random
/// moments, the others while a file is being written.
#[test]
fn a_run_that_is_killed_at_random_moments_ends_as_one_that_is_not() {
    let workspace = Workspace::with_photos();
    let started = Instant::now();
    workspace.regraft(&format!("train photos {WHOLE} {OFTEN} --output whole")).succeeded();
    let whole = started.elapsed();
    let mut state = 11_u32;
    let mut uniform = move || {
        // Numerical Recipes' linear congruential generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let (mut killed, mut runs, mut killed_in_writing, mut furthest) = (0, 0, 0, Vec::new());
    while killed < kills() {
        let name = format!("run{runs}");
        runs += 1;
        let mut arguments = format!("train photos {WHOLE} {OFTEN} --output {name}");
        loop {
            let mut child = workspace.start(&arguments);
            if killed % 2 == 0 {
                std::thread::sleep(whole.mul_f64(uniform()));
            } else {
                // What is being written stands under another name.
                let moment = (40.0 * uniform()) as u32;
                let mut seen = 0;
                while child.try_wait().expect("a child").is_none() && seen <= moment {
                    seen += u32::from(is_writing(&workspace, &name));
                }
                killed_in_writing += u32::from(is_writing(&workspace, &name));
            }
            let ended = child.try_wait().expect("a child").is_some();
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
            if workspace.path(&name).join("checkpoints").exists() {
                furthest.push(checkpoints(&workspace, &name).pop());
            }
            if ended || killed == kills() {
                break;
            }
            killed += 1;
            // A run killed before its first file has left nothing to go on with, nor anything in the way of another one.
            if workspace.path(&name).join("config.toml").exists() {
                arguments = format!("train --resume {name}");
            }
        }
        if workspace.path(&name).join("config.toml").exists() {
            workspace.regraft(&format!("train --resume {name}")).succeeded();
        } else {
            workspace.regraft(&arguments).succeeded();
        }
        assert_same_run(&workspace, &name, "whole");
        let names = workspace.names(&name);
        assert!(names.iter().all(|name| !name.ends_with(".partial") && !name.ends_with(".unfinished")), "left-overs: {names:?}");
    }
    furthest.sort();
    furthest.dedup();
    println!("{killed} kills in {runs} runs, {killed_in_writing} of them in writing, at {} different places", furthest.len());
    assert!(furthest.len() > 1, "the kills were all at one place");
}

/// Whether a file is in the making.
fn is_writing(workspace: &Workspace, run: &str) -> bool {
    [workspace.path(run), workspace.path(run).join("checkpoints")].iter().any(|folder| {
        std::fs::read_dir(folder).is_ok_and(|mut entries| {
            entries.any(|entry| {
                let name = entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).unwrap_or_default();
                name.ends_with(".partial") || name.ends_with(".unfinished")
            })
        })
    })
}

/// Waits until a run has written a checkpoint.
pub fn wait_for_a_checkpoint(workspace: &Workspace, run: &str) {
    let started = Instant::now();
    while !workspace.path(run).join("checkpoints").exists() || checkpoints(workspace, run).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is there");
    assert!(status.success());
}

#[test]
fn ctrl_c_and_sigterm_finish_the_step_and_print_the_command_that_goes_on() {
    let workspace = Workspace::with_photos();
    let long = whole_of(6);
    workspace.regraft(&format!("train photos {long} --output whole")).succeeded();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let name = format!("run{signal}");
        let child = workspace.start(&format!("train photos {long} --output {name}"));
        wait_for_a_checkpoint(&workspace, &name);
        send(signal, &child);
        let outcome = Outcome::of("train", child.wait_with_output().expect("it ends"));
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert_says(&outcome.stderr, &["note: stopped in epoch ", "Go on with: regraft train --resume run-"]);
        assert!(!workspace.path(&name).join("summary.json").exists(), "it had not ended");
        workspace.regraft(&format!("train --resume {name}")).succeeded();
        assert_same_run(&workspace, &name, "whole");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let workspace = Workspace::with_photos();
    // A step of a network of which all learns, on pictures of full size, takes long enough to be met.
    let slow = "--model resnet50 --weights none --image-size 224 --epochs 50 --lr 1e-3 --threads 1 --freeze through=layer3";
    let child = workspace.start(&format!("train photos {slow} --output run"));
    let started = Instant::now();
    while !workspace.path("run/metrics.csv").exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    send("-INT", &child);
    std::thread::sleep(Duration::from_millis(50));
    send("-INT", &child);
    let outcome = Outcome::of("train", child.wait_with_output().expect("it ends"));
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("stopped in epoch"), "{}", outcome.stderr);
}

#[test]
fn a_second_run_in_one_folder_is_refused_and_a_crash_leaves_no_lock() {
    let workspace = Workspace::with_photos();
    let long = whole_of(200);
    let mut child = workspace.start(&format!("train photos {long} --output run"));
    wait_for_a_checkpoint(&workspace, "run");
    for second in ["train --resume run".to_owned(), format!("train photos {WHOLE} --output run --force")] {
        let error = workspace.regraft(&second).failed(2);
        assert_says(&error, &["run is in use by another run", "--output"]);
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    workspace.regraft(&format!("train photos {} --output run --force", whole_of(1))).succeeded();
    assert_eq!(workspace.json("run/summary.json")["epochs"], 1);
}
