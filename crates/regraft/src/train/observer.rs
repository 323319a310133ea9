//! The lines between a run and whoever started it, events out and the wish to stop in, and those
//! between the ranks of a run.

use super::error::TrainError;
use super::events::{Event, Report};
use super::state::TrainState;
use crate::evaluate::EvaluateError;
use crate::features::FeaturesError;
use crate::logistic_regression::RegressionError;
use crate::note::{Note, NoteKind};
use crate::progress::{Progress, Stage};
use crate::ranks::Ranks;
use crate::transfer::fit::FitError;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the events of a run, knows whether it was asked to stop, and asks the other ranks.
pub struct Observer<'a> {
    pub(super) report: &'a mut Report<'a>,
    pub(super) stop: &'a AtomicBool,
    pub(super) ranks: &'a Ranks,
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

    /// Whether the run was asked to stop; of several ranks, whether this one was.
    #[must_use]
    pub fn wants_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A rank's result, if no rank has failed or was stopped. All ranks ask together, so that none
    /// waits for one that has ended.
    pub fn agree<T>(&self, result: Result<T, impl Into<Halt>>) -> Result<T, Halt> {
        decide(self.ranks, result.map_err(Into::into))
    }
}

/// As [`Observer::agree`], of work that is never stopped.
pub(super) fn agree<T>(ranks: &Ranks, result: Result<T, TrainError>) -> Result<T, TrainError> {
    decide(ranks, result.map_err(Halt::Failed)).map_err(|halt| match halt {
        Halt::Failed(error) => error,
        Halt::Stop => TrainError::Peer { keeps: true },
    })
}

/// All ranks do the same about a failure: either all keep what they made before it, or none does.
fn decide<T>(ranks: &Ranks, result: Result<T, Halt>) -> Result<T, Halt> {
    if ranks.is_alone() {
        return result;
    }
    let keeps = match &result {
        Err(Halt::Failed(error)) => Some(error.leaves_good_steps()),
        _ => None,
    };
    let stops = matches!(result, Err(Halt::Stop));
    let [stops, keeps, discards] = ranks.any_of([stops, keeps == Some(true), keeps == Some(false)]);
    match result {
        Err(Halt::Failed(error)) if error.leaves_good_steps() != discards => {
            Err(Halt::Failed(error))
        }
        _ if keeps || discards => Err(TrainError::Peer { keeps: !discards }.into()),
        _ if stops => Err(Halt::Stop),
        result => result,
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
