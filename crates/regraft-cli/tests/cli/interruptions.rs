//! Runs that are killed, or asked to end, at any moment.

#![cfg(unix)]

use crate::outcome::{Outcome, assert_says};
use crate::resume::{OFTEN, WHOLE, assert_same_run, checkpoints, whole_of};
use crate::workspace::Workspace;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Kills at moments that a seed decides.
struct Kills {
    wanted: u32,
    killed: u32,
    in_writing: u32,
    /// How long the program takes where nobody kills it.
    whole: Duration,
    state: u32,
}

impl Kills {
    /// `wanted` in all; `REGRAFT_KILLS` asks for another number.
    fn new(wanted: u32, whole: Duration) -> Self {
        let wanted = std::env::var("REGRAFT_KILLS")
            .map_or(wanted, |text| text.parse().expect("REGRAFT_KILLS is a number"));
        Self { wanted, killed: 0, in_writing: 0, whole, state: 11 }
    }

    fn are_done(&self) -> bool {
        self.killed >= self.wanted
    }

    fn uniform(&mut self) -> f64 {
        // Numerical Recipes' linear congruential generator.
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.state >> 8) / f64::from(1 << 24)
    }

    /// Kills the program the hard way: every second time at a random moment, otherwise while one of
    /// up to `writings` writings takes place below `folder`. Whether it was still running, and
    /// another kill was wanted.
    fn kill(&mut self, mut child: Child, folder: &Path, writings: f64) -> bool {
        if self.killed.is_multiple_of(2) {
            std::thread::sleep(self.whole.mul_f64(self.uniform()));
        } else {
            let moment = (writings * self.uniform()) as u32;
            let mut seen = 0;
            while child.try_wait().expect("a child").is_none() && seen <= moment {
                seen += u32::from(is_writing(folder));
            }
        }
        let was_writing = is_writing(folder);
        let has_ended = child.try_wait().expect("a child").is_some();
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        if has_ended || self.are_done() {
            return false;
        }
        self.killed += 1;
        self.in_writing += u32::from(was_writing);
        true
    }
}

/// Kills the program again and again, and resumes it each time, until it has ended.
#[test]
fn a_run_that_is_killed_at_random_moments_ends_as_one_that_is_not() {
    let workspace = Workspace::with_photos();
    let started = Instant::now();
    workspace.regraft(&format!("train photos {WHOLE} {OFTEN} --output whole")).succeeded();
    let mut kills = Kills::new(6, started.elapsed());
    let (mut runs, mut furthest) = (0, Vec::new());
    while !kills.are_done() {
        let name = format!("run{runs}");
        runs += 1;
        let mut arguments = format!("train photos {WHOLE} {OFTEN} --output {name}");
        loop {
            let was_killed = kills.kill(workspace.start(&arguments), &workspace.path(&name), 40.0);
            if workspace.path(&name).join("checkpoints").exists() {
                furthest.push(checkpoints(&workspace, &name).pop());
            }
            if !was_killed {
                break;
            }
            // A run killed before its first file has left nothing to resume, nor anything in
            // the way of another one.
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
        assert_eq!(unfinished(&workspace.path(&name)), Vec::<PathBuf>::new(), "left-overs");
    }
    furthest.sort();
    furthest.dedup();
    let Kills { killed, in_writing, .. } = kills;
    println!(
        "{killed} kills in {runs} runs, {in_writing} of them in writing, at {} different places",
        furthest.len()
    );
    assert!(furthest.len() > 1, "the kills were all at one place");
}

/// The same for a comparison, which the same command resumes: of its outcome nothing but times
/// may differ, of its models no bit.
#[test]
fn a_comparison_that_is_killed_at_random_moments_ends_as_one_that_is_not() {
    let workspace = Workspace::with_photos();
    let common = "[common]\nhead = \"new\"\nfreeze = \"through=blocks.5\"\nbatch_size = \
        4\noptimizer = \"adamw\"\ncheckpoint_every = \"0s\"\n";
    workspace.write(
        "arms.toml",
        format!(
            "{common}[[arm]]\nname = \"fast\"\nlr = 1e-2\n[[arm]]\nname = \"slow\"\nlr = 1e-4\n"
        ),
    );
    let command = |output: &str| {
        format!(
            "compare photos --arms arms.toml --image-size 32 --epochs 2 --seeds 2 --threads 1 \
             --workers 1 --output {output}"
        )
    };
    let started = Instant::now();
    workspace.regraft(&command("whole")).succeeded();
    let mut kills = Kills::new(6, started.elapsed());
    let (mut comparisons, mut finished) = (0, Vec::new());
    while !kills.are_done() {
        let name = format!("compared{comparisons}");
        comparisons += 1;
        while kills.kill(workspace.start(&command(&name)), &workspace.path(&name), 80.0) {
            finished.push(
                runs(&workspace, &name)
                    .iter()
                    .filter(|run| workspace.path(run).join("summary.json").exists())
                    .count(),
            );
        }
        workspace.regraft(&command(&name)).succeeded();
        assert_eq!(
            outcome(&workspace, &name),
            outcome(&workspace, "whole"),
            "compare.json of {name}"
        );
        let (of_this, of_whole) = (runs(&workspace, &name), runs(&workspace, "whole"));
        assert_eq!((of_this.len(), of_whole.len()), (4, 4));
        for (run, expected) in of_this.iter().zip(&of_whole) {
            assert_same_run(&workspace, run, expected);
            let predictions = |run: &String| workspace.read(&format!("{run}/predictions.csv"));
            assert!(
                predictions(run) == predictions(expected),
                "the predictions of {run} are others"
            );
        }
        assert_eq!(unfinished(&workspace.path(&name)), Vec::<PathBuf>::new(), "left-overs");
    }
    let Kills { killed, in_writing, .. } = kills;
    println!(
        "{killed} kills in {comparisons} comparisons, {in_writing} of them in writing, with \
         {finished:?} runs finished"
    );
}

#[test]
fn a_second_comparison_in_one_folder_is_refused() {
    let workspace = Workspace::with_photos();
    workspace.write("arms.toml", "[[arm]]\nname = \"long\"\nfreeze = \"backbone\"\n");
    let command =
        "compare photos --arms arms.toml --image-size 32 --epochs 200 --seeds 1 --output compared";
    let mut child = workspace.start(command);
    wait_for_a_checkpoint(&workspace, "compared/arms/long/seed-0");
    let error = workspace.regraft(command).failed(2);
    assert_says(&error, &["compared is in use by another run"]);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

/// The run folders of a comparison of `fast` and `slow` that are there.
fn runs(workspace: &Workspace, comparison: &str) -> Vec<String> {
    let all = ["fast", "slow"]
        .map(|arm| [0, 1].map(|seed| format!("{comparison}/arms/{arm}/seed-{seed}")));
    all.into_iter().flatten().filter(|run| workspace.path(run).exists()).collect()
}

/// `compare.json` without times and the names of folders.
fn outcome(workspace: &Workspace, comparison: &str) -> serde_json::Value {
    let mut outcome = workspace.json(&format!("{comparison}/compare.json"));
    for arm in outcome["arms"].as_array_mut().expect("a list") {
        for time in ["wall_seconds", "images_per_second", "seconds_to_target"] {
            arm[time].take();
        }
        for run in arm["runs"].as_array_mut().expect("a list") {
            run["wall_seconds"].take();
            run["folder"].take();
        }
    }
    outcome
}

/// Whether a file is in the making.
fn is_writing(folder: &Path) -> bool {
    !unfinished(folder).is_empty()
}

/// The files below a folder that stand under the name of one in the making.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
    {
        if path.is_dir() {
            found.extend(unfinished(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "partial" || extension == "unfinished")
        {
            found.push(path);
        }
    }
    found
}

/// Waits until a run has written a checkpoint.
pub fn wait_for_a_checkpoint(workspace: &Workspace, run: &str) {
    let started = Instant::now();
    while !workspace.path(run).join("checkpoints").exists()
        || checkpoints(workspace, run).is_empty()
    {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill is there");
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
        assert_says(
            &outcome.stderr,
            &["note: stopped in epoch ", "resume with: regraft train --resume run-"],
        );
        assert!(!workspace.path(&name).join("summary.json").exists(), "it had not ended");
        workspace.regraft(&format!("train --resume {name}")).succeeded();
        assert_same_run(&workspace, &name, "whole");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let workspace = Workspace::with_photos();
    // A step of a network of which all learns, on images of full size, takes long enough to be
    // met.
    let slow = "--model resnet50 --weights none --image-size 224 --epochs 50 --lr 1e-3 --threads \
        1 --freeze through=layer3";
    let child = workspace.start(&format!("train photos {slow} --output run"));
    let started = Instant::now();
    while !workspace.path("run/metrics.csv").exists() && started.elapsed() < Duration::from_secs(60)
    {
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
    for second in
        ["train --resume run".to_owned(), format!("train photos {WHOLE} --output run --force")]
    {
        let error = workspace.regraft(&second).failed(2);
        assert_says(&error, &["run is in use by another run", "--output"]);
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    workspace.regraft(&format!("train photos {} --output run --force", whole_of(1))).succeeded();
    assert_eq!(workspace.json("run/summary.json")["epochs"], 1);
}
