//! Source models that a command needs: weights of a hub are downloaded, and the user told.

use crate::output;
use crate::progress::Bars;
use regraft::config::Weights;
use regraft::hub::{self, Freshness, HubEvent, HubSettings, Need};
use regraft::hub_config::HubConfig;
use regraft::model::{Model, ModelError};
use regraft::source_model::SourceModel;
use std::path::Path;

/// Calls a function that reports what happens at a hub, and tells the user.
pub fn telling<T>(work: impl FnOnce(&mut dyn FnMut(HubEvent)) -> T) -> T {
    let mut bars = Bars::default();
    work(&mut |event| match event {
        HubEvent::Note(text) => {
            bars.clear();
            output::aside(format!("note: {text}"));
        }
        HubEvent::Progress(progress) => bars.progress(progress),
    })
}

/// The source model that flags name, with its weights in the cache if they are a hub's.
pub fn located(model: Option<&str>, weights: Option<&Weights>) -> Result<SourceModel, ModelError> {
    let named = SourceModel::named(model, weights)?;
    telling(|report| named.located(&HubSettings::from_env(), report))
}

/// That model. `seed` draws the weights of one without any.
pub fn source(
    model: Option<&str>,
    weights: Option<&Weights>,
    seed: u64,
) -> Result<Model, ModelError> {
    let found = located(model, weights)?;
    Model::source(found.model.as_deref(), found.weights.as_ref(), seed)
}

/// A model that is named by a path, or as weights of a hub.
pub fn named(path: &Path, model: Option<&str>) -> Result<Model, ModelError> {
    match Weights::named(path.to_owned())? {
        weights @ Weights::Hub(_) => source(model, Some(&weights), 0),
        _ => Model::load(path, model),
    }
}

/// The architecture that a name means: its own, or that of a hub's repository, of which nothing but
/// the `config.json` is downloaded.
pub fn architecture_name(model: &str) -> Result<String, ModelError> {
    let SourceModel { model, weights } = SourceModel::named(Some(model), None)?;
    let Some(Weights::Hub(source)) = weights else { return Ok(model.unwrap_or_default()) };
    let settings = HubSettings::from_env();
    let (need, freshness) = (Need::Configuration, Freshness::Newest);
    let found = telling(|report| hub::find(&source, need, freshness, &settings, report))?;
    match HubConfig::of_folder(&found.folder)? {
        Some(config) => Ok(config.architecture.name.to_owned()),
        None => Err(ModelError::NoArchitecture { origin: source.to_string() }),
    }
}
