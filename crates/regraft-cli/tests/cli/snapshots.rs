//! The whole output of every command, so that a change of wording shows in a diff.
//! `REGRAFT_BLESS=1 cargo test -p regraft-cli --test cli snapshots` writes the files.
//!
//! Numbers with decimals, times and sizes of memory become `#`, and the spaces that align columns
//! one space, because they depend on the machine.

use crate::workspace::{QUICK, Workspace};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Two arms that take a fraction of a second.
const ARMS: &str = "\
[common]
freeze = \"backbone\"
head = \"new\"

[[arm]]
name = \"fast\"
lr = 1e-3

[[arm]]
name = \"slow\"
lr = 1e-6
";

/// A session: commands with their output.
struct Session {
    workspace: Workspace,
    text: String,
}

impl Session {
    fn new() -> Self {
        Self { workspace: Workspace::with_photos(), text: String::new() }
    }

    /// Runs a command and records its output.
    fn run(&mut self, arguments: &str) {
        let found = self.workspace.regraft_with(arguments, &[("REGRAFT_ISA", "portable")]);
        let code = match found.code {
            Some(0) => String::new(),
            code => {
                format!("exit code {}\n", code.map_or("none".to_owned(), |code| code.to_string()))
            }
        };
        let part = |name: &str, text: &str| match text {
            "" => String::new(),
            text => format!("--- {name}\n{}", masked(text)),
        };
        let _ = writeln!(
            self.text,
            "$ regraft {arguments}\n{code}{}{}",
            part("stdout", &found.stdout),
            part("stderr", &found.stderr)
        );
    }

    /// Compares the record with the file, or writes it.
    #[track_caller]
    fn end(self, name: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots").join(name);
        if std::env::var_os("REGRAFT_BLESS").is_some() {
            std::fs::write(&path, &self.text).expect("written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        let (mut left, mut right) = (expected.lines(), self.text.lines());
        loop {
            match (left.next(), right.next()) {
                (None, None) => break,
                (expected, found) => assert_eq!(
                    found, expected,
                    "{name} differs; if that is meant, write it with REGRAFT_BLESS=1. All of it:\n\
                     {}",
                    self.text
                ),
            }
        }
    }
}

/// The text with `#` for numbers with decimals, times such as `3m05s`, and numbers of MiB, and with
/// single spaces.
fn masked(text: &str) -> String {
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{}{}\n", &line[..indent], without_numbers(&words))
    };
    text.lines().map(line).collect()
}

/// The text with `#` in place of numbers that depend on the machine.
fn without_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        masked.push_str(before);
        let is_part = |character: char| character.is_ascii_digit() || character == '.';
        let length = number.find(|character| !is_part(character)).unwrap_or(number.len());
        // A full stop that ends a sentence does not belong to the number before it.
        let digits = number[..length].trim_end_matches('.');
        let after = &number[digits.len()..];
        let in_word =
            before.ends_with(|character: char| character.is_alphanumeric() || character == '_');
        let exponent = after.strip_prefix("e-").or(after.strip_prefix('e')).map_or(0, |power| {
            let places = power.len() - power.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if places == 0 { 0 } else { after.len() - power.len() + places }
        });
        let time = time_length(number);
        if !in_word && time > 0 {
            masked.push_str("#s");
            rest = &number[time..];
        } else if !in_word && (digits.contains('.') || exponent > 0 || after.starts_with(" MiB")) {
            masked.push('#');
            rest = &after[exponent..];
        } else {
            masked.push_str(digits);
            rest = after;
        }
    }
    masked + rest
}

/// How long a time such as `3m05s` at the start of a text is; 0 if there is none.
fn time_length(text: &str) -> usize {
    let mut length = 0;
    for unit in ['h', 'm', 's'] {
        let rest = &text[length..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 && rest[digits..].starts_with(unit) {
            length += digits + 1;
        }
    }
    let ends = !text[length..].starts_with(|character: char| character.is_alphanumeric());
    if ends { length } else { 0 }
}

#[test]
fn what_differs_between_machines_is_masked() {
    assert_eq!(
        masked("  epoch 1/2:   loss 0.693, 3m05s, 0s, to 1e-5. 3 of 4; 95 MiB, run2 v1.5."),
        "  epoch 1/2: loss #, #s, #s, to #. 3 of 4; # MiB, run2 v1.5.\n"
    );
}

#[test]
fn help() {
    for command in [
        "",
        "train",
        "compare",
        "evaluate",
        "predict",
        "report",
        "runs",
        "diff",
        "export",
        "lr-find",
        "audit",
        "show",
        "fetch",
        "models",
        "inspect",
        "weights convert",
        "bench step",
        "bench load",
        "bench zoo",
        "completions",
        "doctor",
    ] {
        let mut session = Session { workspace: Workspace::new(), text: String::new() };
        session.text.clear();
        for flag in ["-h", "--help"] {
            // As it is: the defaults are part of the text.
            let found = session.workspace.regraft(format!("{command} {flag}").trim()).succeeded();
            let _ = writeln!(session.text, "$ regraft {command} {flag}\n{}", found.stdout);
        }
        let name = if command.is_empty() { "regraft" } else { command };
        session.end(&format!("help-{}.txt", name.replace(' ', "-")));
    }
}

#[test]
fn training() {
    let mut session = Session::new();
    session.run(&format!("train photos {QUICK} --threads 1 --workers 1"));
    session.run("train photos --image-size 32 --threads 1 --workers 1 --freeze backbone");
    session.run("train photos --image-size 32 --threads 1 --workers 1 --freeze backbone --json");
    session.run("train --resume runs/photos");
    session.run("train photos --print-config --epochs 3");
    session.end("train.txt");
}

#[test]
fn a_trained_model() {
    let mut session = Session::new();
    let train = format!("train photos {QUICK} --threads 1 --workers 1 --output run");
    session.workspace.regraft_with(&train, &[("REGRAFT_ISA", "portable")]).succeeded();
    session.run("evaluate run photos/test --threads 1");
    session.run("evaluate run photos/test --threads 1 --json");
    session.run("predict run photos/test/blue/0.jpg --threads 1");
    session.run("predict run photos/test/blue/0.jpg --threads 1 --json");
    session.run("predict run photos/test/blue/0.jpg --threads 1 --csv");
    session.run("export run -o photos.onnx --threads 1");
    session.run("export run -o photos --format timm");
    session.run("weights convert run/model.safetensors half.safetensors --dtype f16");
    session.run("weights convert run/model.safetensors other.safetensors --json");
    session.run("inspect run");
    session.run("report run");
    session.run("report run photos/val -o page.html");
    session.run("report photos");
    session.end("model.txt");
}

#[test]
fn runs() {
    let mut session = Session::new();
    for train in [
        "--image-size 32 --freeze backbone --output runs/a",
        "--image-size 32 --weights none --head new --epochs 1 --lr 1e-9 --output runs/b/c",
    ] {
        let train = format!("train photos {train} --threads 1 --workers 1");
        session.workspace.regraft_with(&train, &[("REGRAFT_ISA", "portable")]).succeeded();
    }
    session.run("runs");
    session.run("runs --sort folder --reverse --data PHOTO --model lite0 --finished");
    session.run("runs --model resnet");
    session.run("runs missing");
    session.run("diff runs/a runs/b/c");
    session.run("diff runs/a photos");
    session.end("runs.txt");
}

#[test]
fn data() {
    let mut session = Session::new();
    session.workspace.write("photos/train/blue/broken.jpg", "no image");
    session.run("audit photos --files-only");
    session.run("audit photos --files-only --strict --fix-list out.csv --html page.html");
    session.run("audit photos --files-only --json");
    session.run("show photos -o grid.png --per-class 2 --exclude out.csv");
    session.run("show photos -o grid.png --per-class 1 --exclude out.csv --json");
    session.run("bench load photos/val --epochs 1 --workers 1");
    session.end("data.txt");
}

#[test]
fn comparisons() {
    let mut session = Session::new();
    session.workspace.write("arms.toml", ARMS);
    let compare = "compare photos --arms arms.toml --image-size 32 --epochs 1 --threads 1 \
        --workers 1 --output c";
    session.run(compare);
    session.run(&format!("{compare} --markdown"));
    session.run("lr-find photos --image-size 32 --head new --steps 10 --threads 1 --workers 1");
    session.end("compare.txt");
}

#[test]
fn the_architectures() {
    let mut session = Session::new();
    session.run("models");
    session.run("inspect resnet18 --image-size 64");
    session.end("models.txt");
}

#[test]
fn errors() {
    let mut session = Session::new();
    session.workspace.write("wrong.toml", "data = \"photos\"\nepoch = 3\n");
    session.workspace.write("val.toml", "data = \"photos\"\nbatch_size = 0\n");
    session.workspace.write("photos/train/blue/broken.jpg", "no image");
    for command in [
        "train nowhere",
        "train photos",
        "train photos --lr 0",
        "train photos --batch-size many",
        "train photos --freeze layer9",
        "train photos --freeze through=layer9 --on-bad-image skip",
        "train photos --head new --epochs 0",
        "train photos --head new --freeze auto",
        "train photos --freeze backbone --lr 1e-3",
        "train photos --patience 2 --recipe d2l",
        "train photos --warmup 9 --epochs 3",
        "train photos --refit --views 2",
        "train photos --model resnet18",
        "train photos --model resnet19",
        "train photos --output photos",
        "train --resume photos",
        "train --config wrong.toml",
        "train --config val.toml",
        "train photos --budget 1ms --image-size 32 --on-bad-image skip",
        "train photos --weights none --budget 1m",
        "compare photos --arms wrong.toml",
        "evaluate photos",
        "evaluate nowhere photos",
        "predict runs",
        "lr-find photos --on-bad-image skip",
        "fetch nowhere",
        "inspect nothing",
        "weights convert wrong.toml out.safetensors",
    ] {
        session.run(command);
    }
    session.end("errors.txt");
}
