//! The program under `mpirun`, with OpenMPI: several processes, against one.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const REGRAFT: &str = env!("CARGO_BIN_EXE_regraft");
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample/fashion");

/// All layers learn, on small images.
const TRAIN: &str = "train photos --image-size 32 --freeze none --head new --lr 3e-3 --epochs 2 \
    --batch-size 10 --workers 1 --no-report";

/// A folder with some images of three classes: 27 to train on, 12 to choose the epoch, 9 to test.
struct Workspace(TempDir);

impl Workspace {
    fn new() -> Self {
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
                let into = folder.path().join("photos").join(part).join(class);
                std::fs::create_dir_all(&into).expect("a folder");
                for path in &paths[count.clone()] {
                    std::fs::copy(path, into.join(path.file_name().expect("a name")))
                        .expect("a copy");
                }
            }
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A program to run in the folder, with a feature cache of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .env("REGRAFT_CACHE", self.path("cache"))
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            // A test's ranks may have to share a core.
            .env("OMPI_MCA_mpi_yield_when_idle", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn mpirun(&self, ranks: usize, arguments: &str) -> Command {
        let mut command = self.command("mpirun");
        command
            .args(["--oversubscribe", "-np", &ranks.to_string(), REGRAFT])
            .args(arguments.split_whitespace());
        command
    }

    /// Runs the program in one process.
    fn alone(&self, arguments: &str) -> String {
        let output = self.command(REGRAFT).args(arguments.split_whitespace()).output();
        succeeded(output.expect("the program"))
    }

    /// Runs it in several.
    fn together(&self, ranks: usize, arguments: &str) -> String {
        succeeded(self.mpirun(ranks, arguments).output().expect("mpirun"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.bytes(name)).expect("JSON")
    }

    /// Compares what two runs have learned, to the bit: the tensors of their models, and their
    /// predictions.
    fn assert_same(&self, one: &str, other: &str) {
        let tensors = |run: &str| {
            let model = regraft::model::Model::load(&self.path(run), None).expect("a model");
            model.state
        };
        assert!(tensors(one) == tensors(other), "{one} and {other} have other weights");
        let [one, other] = [one, other].map(|run| self.bytes(&format!("{run}/predictions.csv")));
        assert!(one == other, "other predictions");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The standard output of a program that succeeded.
fn succeeded(output: Output) -> String {
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{}\n{}\n{errors}", output.status, text(&output.stdout));
    text(&output.stdout)
}

/// The standard error of a program that failed.
fn failed(output: Output) -> String {
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn processes_train_what_as_many_engines_of_one_process_train_to_the_bit() {
    let workspace = Workspace::new();
    for ranks in [2, 3, 4] {
        workspace.alone(&format!("{TRAIN} --mixup 0.4 --device cpu*{ranks} --output one{ranks}"));
        let output =
            workspace.together(ranks, &format!("{TRAIN} --mixup 0.4 --output many{ranks}"));
        workspace.assert_same(&format!("one{ranks}"), &format!("many{ranks}"));
        let epochs = output.lines().filter(|line| line.starts_with("epoch 1/2")).count();
        assert_eq!(epochs, 1, "one rank prints: {output}");
        assert!(output.contains(&format!("on {ranks} ranks, each cpu (")), "{output}");
    }
    workspace.alone(&format!(
        "{TRAIN} --batch-norm batch --sync-batch-norm --device cpu*2 \
        --output synced-one"
    ));
    workspace.together(2, &format!("{TRAIN} --batch-norm batch --sync-batch-norm --output synced"));
    workspace.assert_same("synced-one", "synced");
}

#[test]
fn a_fitted_head_and_every_answer_are_those_of_one_process() {
    let workspace = Workspace::new();
    let fit = "train photos --image-size 32 --freeze backbone --workers 1 --no-report";
    workspace.alone(&format!("{fit} --no-feature-cache --output one"));
    workspace.together(3, &format!("{fit} --output three"));
    workspace.assert_same("one", "three");
    // The features were kept by three ranks, and are found by two and by one.
    for ranks in [2, 1] {
        workspace.together(ranks, &format!("{fit} --output again{ranks}"));
        workspace.assert_same("one", &format!("again{ranks}"));
    }
    for arguments in
        ["evaluate one photos/test --json", "predict one photos/test --csv", "audit photos --json"]
    {
        let without_device = |text: String| {
            let at = text.find("\"device\"");
            at.map_or(text.clone(), |at| {
                let end = text[at..].find("\",").map_or(text.len(), |end| at + end);
                format!("{}{}", &text[..at], &text[end..])
            })
        };
        let expected = without_device(workspace.alone(arguments));
        for ranks in [2, 3] {
            let found = without_device(workspace.together(ranks, arguments));
            assert_eq!(found, expected, "{ranks} ranks: {arguments}");
        }
    }
}

#[test]
fn the_depth_is_decided_together() {
    let workspace = Workspace::new();
    let auto = "train photos --image-size 32 --freeze auto --epochs 1 --workers 1 --no-report";
    workspace.alone(&format!("{auto} --device cpu*2 --output one"));
    workspace.together(2, &format!("{auto} --output two"));
    workspace.assert_same("one", "two");
    let budget = "train photos --image-size 32 --budget 60s --workers 1 --no-report";
    workspace.together(2, &format!("{budget} --output budget"));
    assert!(workspace.json("budget/summary.json")["epochs"].is_number());
}

/// Waits until a run has made its first epochs.
fn wait_for_epochs(workspace: &Workspace, run: &str, count: usize) {
    let began = Instant::now();
    let rows = || {
        let text = std::fs::read_to_string(workspace.path(&format!("{run}/metrics.csv")));
        text.map_or(0, |text| text.lines().count().saturating_sub(1))
    };
    while rows() < count {
        assert!(began.elapsed() < Duration::from_secs(100), "no {count} epochs within 100 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(signal: &str, process: u32) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(status.expect("kill is there").success());
}

/// The processes of regraft below mpirun, in the order of their ranks.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let parent = mpirun.id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let is_child = status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|pid| pid.trim() == parent));
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let rank = environment.split(|&byte| byte == 0).find_map(|variable| {
            text(variable).strip_prefix("OMPI_COMM_WORLD_RANK=")?.parse::<u32>().ok()
        });
        found.extend(rank.filter(|_| is_child).map(|rank| (rank, process)));
    }
    found.sort_unstable();
    found.into_iter().map(|(_, process)| process).collect()
}

const LONG: &str = "--epochs 40 --schedule constant";

#[test]
fn a_signal_to_any_rank_stops_all_with_a_whole_checkpoint() {
    let workspace = Workspace::new();
    let long = TRAIN.replace("--epochs 2", "--epochs 12");
    workspace.together(2, &format!("{long} --output whole"));
    for (signal, code) in [("-USR1", 138), ("-TERM", 143), ("-INT", 130)] {
        let run = format!("run{signal}");
        let child = workspace.mpirun(2, &format!("{long} --output {run}")).spawn().expect("mpirun");
        wait_for_epochs(&workspace, &run, 1);
        send(signal, ranks_of(&child)[1]);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let errors = failed(output);
        assert_eq!(errors.matches("note: stopped in epoch ").count(), 1, "{errors}");
        assert!(!workspace.path(&format!("{run}/summary.json")).exists());
        let resumed = workspace.mpirun(2, &format!("train --resume {run} --no-report")).output();
        succeeded(resumed.expect("mpirun"));
        workspace.assert_same("whole", &run);
    }
    // mpirun passes SIGUSR1 on to all ranks, which Slurm sends to the processes as well.
    let child = workspace.mpirun(2, &format!("{long} --output usr1")).spawn().expect("mpirun");
    wait_for_epochs(&workspace, "usr1", 1);
    ranks_of(&child).into_iter().for_each(|rank| send("-USR1", rank));
    send("-USR1", child.id());
    let errors = failed(child.wait_with_output().expect("it ends"));
    assert!(errors.contains("note: stopped in epoch "), "{errors}");
    let output = workspace.mpirun(3, "train --resume usr1 --no-report").output().expect("mpirun");
    let says = text(&output.stdout) + &text(&output.stderr);
    succeeded(output);
    assert!(says.contains("the run began with 2 ranks and continues with 3 ranks"), "{says}");
}

#[test]
fn a_killed_rank_is_named_and_the_resumed_run_is_as_if_nothing_had_happened() {
    let workspace = Workspace::new();
    let long = TRAIN.replace("--epochs 2", "--epochs 12");
    workspace.together(3, &format!("{long} --output whole"));
    let child = workspace.mpirun(3, &format!("{long} --output run")).spawn().expect("mpirun");
    wait_for_epochs(&workspace, "run", 2);
    let began = Instant::now();
    send("-KILL", ranks_of(&child)[2]);
    let errors = failed(child.wait_with_output().expect("it ends"));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(errors.contains("rank 2") && errors.contains("signal 9"), "{errors}");
    workspace.together(3, "train --resume run --no-report");
    workspace.assert_same("whole", "run");
}

#[test]
fn what_fails_in_one_rank_is_said_once_and_ends_all() {
    let workspace = Workspace::new();
    let output = workspace.mpirun(2, "train nowhere --output run").output().expect("mpirun");
    assert_eq!(output.status.code(), Some(2));
    let errors = failed(output);
    assert_eq!(errors.matches("error: nowhere: no such file or folder").count(), 1, "{errors}");

    // A diverging run.
    let diverging = TRAIN.replace("3e-3", "1e12");
    let errors =
        failed(workspace.mpirun(2, &format!("{diverging} --output run")).output().expect("mpirun"));
    assert_eq!(errors.matches("error: the training diverged").count(), 1, "{errors}");

    // A file that vanishes under a run, in the share of some rank.
    let long = format!("{} --output gone --cache-images off", TRAIN.replace("--epochs 2", LONG));
    let child = workspace.mpirun(2, &long).spawn().expect("mpirun");
    wait_for_epochs(&workspace, "gone", 1);
    let folder = std::fs::read_dir(workspace.path("photos/train/coat")).expect("a folder");
    let image = folder.flatten().next().expect("an image").path();
    let kept = workspace.path("kept.png");
    std::fs::rename(&image, &kept).expect("moved");
    let errors = failed(child.wait_with_output().expect("it ends"));
    assert!(errors.contains("error: ") && errors.contains("cannot be read"), "{errors}");
    assert!(errors.contains("resume with"), "{errors}");
    std::fs::rename(&kept, &image).expect("moved back");
    workspace.together(2, "train --resume gone --no-report");

    // What only one process can do.
    let errors = failed(workspace.mpirun(2, "models").output().expect("mpirun"));
    assert_eq!(errors.matches("error: this command does its work in one process").count(), 1);
    let errors = failed(workspace.mpirun(2, "train --wrong").output().expect("mpirun"));
    assert_eq!(errors.matches("unexpected argument").count(), 1, "{errors}");
    let several = format!("{TRAIN} --device cpu*2 --output several");
    let errors = failed(workspace.mpirun(2, &several).output().expect("mpirun"));
    assert!(errors.contains("names several devices"), "{errors}");
}

#[test]
fn a_full_disk_ends_all_ranks() {
    let workspace = Workspace::new();
    let began = Instant::now();
    // Rank 0 may write files of ten megabytes at most, less than a model.
    let limited = format!("ulimit -f 10000; exec {REGRAFT} {TRAIN} --output run");
    let output = workspace
        .command("mpirun")
        .args(["--oversubscribe", "-np", "1", "bash", "-c", &limited, ":", "-np", "1", REGRAFT])
        .args(format!("{TRAIN} --output run").split_whitespace())
        .output()
        .expect("mpirun");
    let errors = failed(output);
    assert!(errors.contains("error: ") && errors.contains("run/"), "{errors}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
