//! A folder of its own for each test, in which the program runs.

use crate::outcome::Outcome;
use crate::pictures::{Look, write_pictures};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The program.
pub const REGRAFT: &str = env!("CARGO_BIN_EXE_regraft");

/// Options with which training takes a fraction of a second: small images, and only a new head
/// learns.
pub const SMALL: &str = "--image-size 32 --freeze backbone --head new";

/// A whole training that takes a fraction of a second.
pub const QUICK: &str = "--image-size 32 --freeze backbone --head new --epochs 2 --lr 1e-3";

/// The sample's training images: 600 in ten classes, of which a head fitted at 32 pixels gets a
/// quarter wrong.
pub const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample/fashion/train");

/// An empty folder, removed at the end.
pub struct Workspace {
    folder: TempDir,
}

impl Workspace {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// One with `photos/train`, `photos/val` and `photos/test`, each with the classes `blue` and
    /// `striped`.
    pub fn with_photos() -> Self {
        let workspace = Self::new();
        for (part, count) in [("train", 5), ("val", 2), ("test", 3)] {
            workspace.pictures(&format!("photos/{part}/blue"), Look::Blue, count);
            workspace.pictures(&format!("photos/{part}/striped"), Look::Striped, count);
        }
        workspace
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes images of a class into a folder, which is made.
    pub fn pictures(&self, folder: &str, look: Look, count: u32) {
        write_pictures(&self.path(folder), look, count);
    }

    /// Writes a file; its folder is made.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the workspace"))
            .expect("a folder");
        std::fs::write(path, content).expect("a file");
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The text of a file.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("text")
    }

    /// A file of JSON.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }

    /// The names in a folder, in byte order.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    /// Runs the program with arguments parted by spaces.
    pub fn regraft(&self, arguments: &str) -> Outcome {
        self.regraft_with(arguments, &[])
    }

    /// Runs the program with environment variables.
    pub fn regraft_with(&self, arguments: &str, environment: &[(&str, &str)]) -> Outcome {
        let mut command = command(self.folder.path(), arguments);
        command.envs(environment.iter().copied());
        Outcome::of(arguments, command.output().expect("the program runs"))
    }

    /// Starts the program; nobody reads its standard output, and what it writes to standard error
    /// waits to be read.
    pub fn start(&self, arguments: &str) -> Child {
        let mut command = command(self.folder.path(), arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs")
    }

    /// Runs a shell's script in which `$REGRAFT` is the program.
    pub fn shell(&self, script: &str) -> Outcome {
        let mut command = Command::new("sh");
        command
            .current_dir(self.folder.path())
            .arg("-c")
            .arg(script)
            .env("REGRAFT", REGRAFT)
            .stdin(Stdio::null());
        Outcome::of(script, command.output().expect("a shell"))
    }

    /// Runs the program with nobody reading its standard output.
    pub fn regraft_into_closed_pipe(&self, arguments: &str) -> Outcome {
        let mut command = command(self.folder.path(), arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        Outcome::of(arguments, child.wait_with_output().expect("the program ends"))
    }
}

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(REGRAFT);
    for name in ["HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "http_proxy", "all_proxy", "no_proxy"]
    {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    command
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .env_remove("REGRAFT_ISA")
        .env("REGRAFT_CACHE", folder.join("cache"))
        // No test asks a hub but its own.
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", "huggingface")
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        // Without it, Mesa's Vulkan drivers complain to standard error.
        .env("XDG_RUNTIME_DIR", folder)
        .stdin(Stdio::null());
    command
}
