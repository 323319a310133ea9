//! Disks that are full, folders that may not be written to or are gone: a clear error, and the last
//! good checkpoint intact.

#![cfg(unix)]

use crate::interruptions::wait_for_a_checkpoint;
use crate::outcome::{Outcome, assert_says};
use crate::resume::{OFTEN, WHOLE, assert_same_run, checkpoints, whole_of};
use crate::workspace::{REGRAFT, Workspace};
use regraft::train::checkpoint::Checkpoint;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

/// The hint of a failed run if there is a checkpoint to resume from.
const GO_ON: &str = "everything up to the last checkpoint is saved; once the problem is fixed, \
    resume with: regraft train --resume ";

/// The user that has no rights.
const NOBODY: u32 = 65534;

fn assert_intact(workspace: &Workspace, run: &str) {
    let paths = checkpoints(workspace, run);
    assert!(!paths.is_empty(), "{run} has checkpoints");
    paths.iter().for_each(|path| drop(Checkpoint::read(path).expect("intact")));
    let names = [workspace.names(run), workspace.names(&format!("{run}/checkpoints"))].concat();
    assert!(
        names.iter().all(|name| !name.ends_with(".partial") && !name.ends_with(".unfinished")),
        "left-overs: {names:?}"
    );
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
}

#[test]
fn a_file_that_cannot_grow_is_an_error_and_the_run_goes_on_later() {
    let workspace = Workspace::with_photos();
    let whole = whole_of(4);
    workspace.regraft(&format!("train photos {whole} --output whole")).succeeded();
    workspace.regraft(&format!("train photos {} --output run", whole_of(2))).succeeded();
    // The model's file is 13.5 MB long, a checkpoint 16 MB; a shell's unit is 512 bytes. The first
    // limit stops the model, the second the checkpoint.
    for (blocks, file) in [(2_000, "model.safetensors"), (28_000, "checkpoints/epoch-")] {
        let outcome = workspace
            .shell(&format!("ulimit -f {blocks}; exec \"$REGRAFT\" train --resume run --epochs 4"));
        let error = outcome.failed(1);
        assert_says(&error, &["cannot write the weight file run/", file, "File too large"]);
        assert_says(&error, &[GO_ON]);
        assert_intact(&workspace, "run");
    }
    workspace.regraft("train --resume run --epochs 4").succeeded();
    assert_same_run(&workspace, "run", "whole");
}

/// A disk of 40 MB in memory, which is mounted for this test's processes alone.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_the_run_goes_on_when_there_is_room() {
    let workspace = Workspace::with_photos();
    let mount = "unshare --map-root-user --mount sh -c 'mkdir -p disk && mount -t tmpfs -o \
        size=40m tmpfs disk";
    if workspace.shell(&format!("{mount}'")).code != Some(0) {
        eprintln!(
            "SKIPPED: a_full_disk...: no file system can be mounted here (unshare --map-root-user \
             --mount)"
        );
        return;
    }
    workspace.regraft(&format!("train photos {WHOLE} --output whole")).succeeded();
    let script = format!(
        "{mount}; \"$REGRAFT\" train photos {WHOLE} {OFTEN} --output disk/run 2>full.txt; echo $? \
         >full.code; cp -r disk/run full; \
         mount -o remount,size=400m disk; \"$REGRAFT\" train --resume disk/run && cp -r disk/run \
             run'"
    );
    workspace.shell(&script).succeeded();
    assert_eq!(workspace.text("full.code").trim(), "1");
    assert_says(
        &workspace.text("full.txt"),
        &["error: cannot write the weight file disk/run/", "No space left on device"],
    );
    assert_intact(&workspace, "full");
    assert_same_run(&workspace, "run", "whole");
}

#[test]
fn what_another_user_may_not_write_to_is_refused_by_name() {
    let workspace = Workspace::with_photos();
    workspace.regraft("train photos --image-size 32 --epochs 1 --output run").succeeded();
    let before = workspace.read("run/model.safetensors");
    std::fs::create_dir(workspace.path("closed")).expect("a folder");
    let Some(user) = OtherUser::new(&workspace, &["closed", "run", "run/checkpoints"]) else {
        return;
    };
    let quick = "--image-size 32 --head new --epochs 1";
    for (arguments, path) in [
        (format!("train photos {quick} --output closed/run"), "closed/run"),
        (format!("train photos {quick} --output closed"), "closed/.lock"),
        (format!("train photos {quick} --output run --force"), "run/.lock"),
        ("train --resume run --schedule constant".to_owned(), "run/.lock"),
    ] {
        let error = user.regraft(&workspace, &arguments).failed(2);
        assert_says(
            &error,
            &[
                "cannot create the f",
                path,
                "Permission denied",
                "name another folder with --output",
            ],
        );
    }
    assert!(workspace.read("run/model.safetensors") == before);
    assert_eq!(workspace.names("closed"), [""; 0]);
}

#[test]
fn a_folder_that_becomes_read_only_stops_the_run_and_leaves_its_checkpoints() {
    let workspace = Workspace::with_photos();
    let whole = whole_of(6);
    workspace.regraft(&format!("train photos {whole} --output whole")).succeeded();
    std::fs::create_dir(workspace.path("mine")).expect("a folder");
    let Some(user) = OtherUser::new(&workspace, &[]) else { return };
    user.give(&workspace.path("mine"));
    let mut command = user.command(&workspace, &format!("train photos {whole} --output mine/run"));
    let child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
    wait_for_a_checkpoint(&workspace, "mine/run");
    let folder = workspace.path("mine/run/checkpoints");
    set_mode(&folder, 0o555);
    let outcome = Outcome::of("train", child.wait_with_output().expect("it ends"));
    let error = outcome.failed(1);
    assert_says(&error, &["mine/run/checkpoints", "Permission denied"]);
    set_mode(&folder, 0o755);
    checkpoints(&workspace, "mine/run")
        .iter()
        .for_each(|path| drop(Checkpoint::read(path).expect("intact")));
    user.regraft(&workspace, "train --resume mine/run").succeeded();
    assert_same_run(&workspace, "mine/run", "whole");
}

#[test]
fn a_folder_that_is_removed_under_a_run_is_an_error() {
    let workspace = Workspace::with_photos();
    let child = workspace.start(&format!("train photos {} --output run", whole_of(200)));
    wait_for_a_checkpoint(&workspace, "run");
    // A file may come into being while the folder is being emptied.
    while workspace.path("run").exists() {
        let _ = std::fs::remove_dir_all(workspace.path("run"));
    }
    let error = Outcome::of("train", child.wait_with_output().expect("it ends")).failed(1);
    assert_says(&error, &["run/", "No such file or directory"]);
    assert!(!workspace.path("run").exists(), "it is not made again");
}

#[test]
fn a_picture_that_is_removed_under_a_run_is_an_error_and_the_steps_before_are_kept() {
    let workspace = Workspace::with_photos();
    let whole = format!("{} --cache-images off", whole_of(6));
    workspace.regraft(&format!("train photos {whole} --output whole")).succeeded();
    let child = workspace.start(&format!("train photos {whole} --output run"));
    wait_for_a_checkpoint(&workspace, "run");
    let (picture, aside) = (workspace.path("photos/train/blue/2.jpg"), workspace.path("aside.jpg"));
    std::fs::rename(&picture, &aside).expect("moved");
    let error = Outcome::of("train", child.wait_with_output().expect("it ends")).failed(1);
    assert_says(&error, &["photos/train/blue/2.jpg", GO_ON]);
    assert_intact(&workspace, "run");
    std::fs::rename(&aside, &picture).expect("moved");
    workspace.regraft("train --resume run").succeeded();
    assert_same_run(&workspace, "run", "whole");
}

/// A user without rights: for root that is `nobody`, for anyone else it is oneself, with the
/// folders closed.
struct OtherUser {
    is_nobody: bool,
    program: String,
}

impl OtherUser {
    /// `closed` are folders that the user may not write to.
    fn new(workspace: &Workspace, closed: &[&str]) -> Option<Self> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0);
        if !is_root {
            closed.iter().for_each(|folder| set_mode(&workspace.path(folder), 0o555));
            return Some(Self { is_nobody: false, program: REGRAFT.into() });
        }
        // A temporary folder is its owner's alone, and the program may lie where nobody else looks.
        set_mode(&workspace.path(""), 0o755);
        let program = workspace.path("regraft");
        std::fs::hard_link(REGRAFT, &program)
            .or_else(|_| std::fs::copy(REGRAFT, &program).map(drop))
            .expect("the program is copied");
        let user = Self { is_nobody: true, program: program.display().to_string() };
        let works = user
            .command(workspace, "--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !works {
            eprintln!(
                "SKIPPED: a test of permissions: root cannot become another user here (setpriv)"
            );
        }
        works.then_some(user)
    }

    fn give(&self, path: &Path) {
        if self.is_nobody {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
        }
    }

    fn command(&self, workspace: &Workspace, arguments: &str) -> Command {
        let mut command = Command::new(if self.is_nobody { "setpriv" } else { &self.program });
        if self.is_nobody {
            command.args([
                &format!("--reuid={NOBODY}"),
                &format!("--regid={NOBODY}"),
                "--clear-groups",
                &self.program,
            ]);
        }
        command
            .current_dir(workspace.path(""))
            .args(arguments.split_whitespace())
            .stdin(Stdio::null());
        command
    }

    fn regraft(&self, workspace: &Workspace, arguments: &str) -> Outcome {
        Outcome::of(
            arguments,
            self.command(workspace, arguments).output().expect("the program runs"),
        )
    }
}
