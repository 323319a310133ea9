//! Which source model `--model` and `--weights` mean, and how its files are brought into the cache.

use crate::config::{TrainConfig, Weights};
use crate::hub::{self, Freshness, HubError, HubEvent, HubSettings, HubSource, Need};
use crate::model::{DEFAULT_ARCHITECTURE, ModelError, architecture};

/// A source model: an architecture and weights, as [`Model::source`](crate::model::Model::source)
/// takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceModel {
    /// The architecture, if it is named.
    pub model: Option<String>,
    /// The weights, if they are named.
    pub weights: Option<Weights>,
}

impl SourceModel {
    /// The source model that `--model` and `--weights` name. `--model hub:OWNER/NAME` names
    /// weights, whose `config.json` names the architecture.
    ///
    /// # Errors
    /// If `hub:` is followed by something else than a repository, or both name weights.
    pub fn named(model: Option<&str>, weights: Option<&Weights>) -> Result<Self, ModelError> {
        let weights = match weights {
            // A path that a caller has made of text.
            Some(Weights::File(path)) if !path.exists() => Some(Weights::named(path.clone())?),
            weights => weights.cloned(),
        };
        let Some(name) = model.filter(|name| name.starts_with(hub::PREFIX)) else {
            return Ok(Self { model: model.map(str::to_owned), weights });
        };
        if let Some(weights) = weights {
            let (model, weights) = (name.to_owned(), weights.to_string());
            return Err(ModelError::TwoSources { model, weights });
        }
        Ok(Self { model: None, weights: Some(Weights::Hub(name.parse()?)) })
    }

    /// That of a run's configuration.
    ///
    /// # Errors
    /// As [`SourceModel::named`].
    pub fn of(config: &TrainConfig) -> Result<Self, ModelError> {
        Self::named(config.model.as_deref(), config.weights.as_ref())
    }

    /// The weights on a hub that are meant, and whether the newest ones are wanted: those that are
    /// named, or the usual ones of an architecture without weights.
    ///
    /// # Errors
    /// If the architecture is unknown.
    pub fn on_hub(&self) -> Result<Option<(HubSource, Freshness)>, ModelError> {
        match (&self.weights, &self.model) {
            (Some(Weights::Hub(source)), _) => Ok(Some((source.clone(), Freshness::Newest))),
            (None, Some(name)) if name != DEFAULT_ARCHITECTURE => {
                let repository = architecture(name)?.hub_repository();
                let source = repository.map(HubSource::newest).transpose()?;
                Ok(source.map(|source| (source, Freshness::Cached)))
            }
            _ => Ok(None),
        }
    }

    /// The same with the weights of a hub at a commit and with the hash of their file, which is
    /// in the cache then. `report` hears of every download before it begins.
    ///
    /// # Errors
    /// If the weights cannot be had.
    pub fn located(
        self,
        settings: &HubSettings,
        report: &mut dyn FnMut(HubEvent),
    ) -> Result<Self, ModelError> {
        let Some((source, freshness)) = self.on_hub()? else { return Ok(self) };
        match hub::find(&source, Need::Weights, freshness, settings, report) {
            Ok(found) => Ok(Self { weights: Some(Weights::Hub(found.source)), ..self }),
            Err(error) => Err(self.without(error)),
        }
    }

    /// The error for weights of a hub that cannot be had. Nobody asked for those of an
    /// architecture's repository by name.
    fn without(&self, error: HubError) -> ModelError {
        match (&self.weights, self.model.as_deref().map(architecture)) {
            (None, Some(Ok(named))) => ModelError::NoDownload {
                architecture: named.name.into(),
                files: named.weights.replace("--weights ", ""),
                error: Box::new(error),
            },
            _ => error.into(),
        }
    }
}
