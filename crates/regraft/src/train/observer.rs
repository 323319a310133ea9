//! The two lines between a run and whoever started it: events go out, and the wish to stop comes
//! in.

use super::error::TrainError;
use super::events::{Event, Report};
use super::state::TrainState;
use crate::evaluate::EvaluateError;
use crate::features::FeaturesError;
use crate::logistic_regression::RegressionError;
use crate::note::{Note, NoteKind};
use crate::progress::{Progress, Stage};
use crate::transfer::fit::FitError;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the events of a run, and knows whether it was asked to stop.
pub struct Observer<'a> {
    pub(super) report: &'a mut Report<'a>,
    pub(super) stop: &'a AtomicBool,
}

impl Observer<'_> {
    /// Something happened.
    pub fn tell(&mut self, event: Event) {
        (self.report)(event);
    }

    /// The user should know something.
    pub fn note(&mut self, note: Note) {
        self.tell(Event::Note(note));
    }

    /// The user should know something now, and the run keeps it.
    pub fn note_in(&mut self, state: &mut TrainState, kind: NoteKind, text: impl Into<String>) {
        let note = Note::new(kind, text);
        self.note(note.clone());
        state.notes.push(note);
    }

    /// Work has advanced. Says whether to continue.
    pub fn progress(&mut self, stage: Stage, done: usize, total: usize) -> ControlFlow<()> {
        self.tell(Event::Progress(Progress::of(stage, done, total)));
        if self.wants_stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the run was asked to stop.
    #[must_use]
    pub fn wants_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Why work in a run ended early.
#[derive(Debug)]
pub enum Halt {
    /// The run was asked to stop.
    Stop,
    /// It failed.
    Failed(TrainError),
}

impl<E> From<E> for Halt
where
    TrainError: From<E>,
{
    fn from(error: E) -> Self {
        match TrainError::from(error) {
            // These functions ask a callback whether to continue, and `Observer` answered no.
            TrainError::Evaluate(EvaluateError::Stopped)
            | TrainError::Features(FeaturesError::Evaluate(EvaluateError::Stopped))
            | TrainError::Fit(FitError::Regression(RegressionError::Stopped)) => Self::Stop,
            error => Self::Failed(error),
        }
    }
}
