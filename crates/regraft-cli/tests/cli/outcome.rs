//! The result of a run of the program.

use std::process::Output;

/// Exit code and output.
#[derive(Debug)]
pub struct Outcome {
    arguments: String,
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// That of a process that ended.
    pub fn of(arguments: &str, output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        let [stdout, stderr] = [output.stdout, output.stderr].map(text);
        Self { arguments: arguments.to_owned(), code: output.status.code(), stdout, stderr }
    }

    /// Itself, where the exit code is 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "regraft {}\n{}\n{}",
            self.arguments,
            self.stdout,
            self.stderr
        );
        self
    }

    /// The error message, where the exit code is this one.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "regraft {}\n{}\n{}",
            self.arguments,
            self.stdout,
            self.stderr
        );
        assert!(
            self.stderr.starts_with("error: ") || self.stderr.contains("\nerror: "),
            "{}",
            self.stderr
        );
        self.stderr
    }

    /// All of standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Asserts that a text has every one of the parts.
#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not said in:\n{text}");
    }
}
