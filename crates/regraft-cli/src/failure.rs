//! How a command fails: because of what it was given, under way, or because it was told to end.

use std::fmt;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or bad input: exit code 2.
    Input(anyhow::Error),
    /// Something failed under way: exit code 1.
    UnderWay(anyhow::Error),
    /// A signal of this number told it to end, and it saved all it had: exit code 128 and the
    /// number, as shells have it.
    Stopped(anyhow::Error, u8),
}

impl Failure {
    /// Wrong usage or bad input.
    pub fn input(error: impl Into<anyhow::Error>) -> Self {
        Self::Input(error.into())
    }

    /// Something failed under way.
    pub fn under_way(error: impl Into<anyhow::Error>) -> Self {
        Self::UnderWay(error.into())
    }

    /// A signal of this number told it to end.
    pub fn stopped(error: impl Into<anyhow::Error>, signal: u8) -> Self {
        Self::Stopped(error.into(), signal)
    }

    /// What failed under way, or else wrong usage or bad input.
    pub fn of(under_way: bool, error: impl Into<anyhow::Error>) -> Self {
        if under_way { Self::under_way(error) } else { Self::input(error) }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Input(_) => ExitCode::from(2),
            Self::UnderWay(_) => ExitCode::from(1),
            Self::Stopped(_, signal) => ExitCode::from(signal.saturating_add(128)),
        }
    }

    /// Whether it is only that nobody reads the output any more.
    pub fn is_closed_pipe(&self) -> bool {
        let (Self::Input(error) | Self::UnderWay(error) | Self::Stopped(error, _)) = self;
        let pipe = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        error.chain().any(|cause| cause.downcast_ref().is_some_and(pipe))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Input(error) | Self::UnderWay(error) | Self::Stopped(error, _)) = self;
        write!(formatter, "{error}")
    }
}

/// Writing output failed.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::UnderWay(error.into())
    }
}
