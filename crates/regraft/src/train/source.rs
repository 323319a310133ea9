//! The source model of a run, whose files are brought into the cache before anything is planned.

use super::observer::{Halt, Observer};
use super::{Event, TrainError};
use crate::config::TrainConfig;
use crate::hub::{HubEvent, HubSettings};
use crate::model::ModelError;
use crate::note::{Note, NoteKind};
use crate::source_model::SourceModel;

/// The configuration with the weights named as such that `model` names.
pub(super) fn named(config: &TrainConfig) -> Result<TrainConfig, ModelError> {
    let SourceModel { model, weights } = SourceModel::of(config)?;
    Ok(TrainConfig { model, weights, ..config.clone() })
}

/// The same with weights of a hub at a commit, which are in the cache then. Of several ranks, the
/// first one decides the commit, and the others, which may have a cache of their own, follow it.
pub(super) fn located(
    config: &TrainConfig,
    observer: &mut Observer<'_>,
) -> Result<TrainConfig, Halt> {
    let ranks = observer.ranks;
    let mut found = SourceModel::of(config).map_err(TrainError::from);
    if ranks.is_first() {
        found = found.and_then(|source| locate(source, observer));
    }
    let mut found = observer.agree(found)?;
    if !ranks.is_alone() {
        found.weights = ranks.of_first(&found.weights);
        let followed = if ranks.is_first() { Ok(found) } else { locate(found, observer) };
        found = observer.agree(followed)?;
    }
    let SourceModel { model, weights } = found;
    Ok(TrainConfig { model, weights, ..config.clone() })
}

fn locate(source: SourceModel, observer: &mut Observer<'_>) -> Result<SourceModel, TrainError> {
    let mut report = |event| observer.tell(hub_event(event));
    Ok(source.located(&HubSettings::from_env(), &mut report)?)
}

/// The event of a run for that of a hub.
pub(super) fn hub_event(event: HubEvent) -> Event {
    match event {
        HubEvent::Note(text) => Event::Note(Note::new(NoteKind::Source, text)),
        HubEvent::Progress(progress) => Event::Progress(progress),
    }
}
