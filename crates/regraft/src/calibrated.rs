//! Classifiers with calibrated probabilities.

use crate::metrics::Temperature;
use crate::model::{Model, ModelError, from_metadata, keys};
use regraft_nn::parameters::parameters;

impl Model {
    /// The temperature that its run has fitted, if it could.
    ///
    /// # Errors
    /// If the metadata is damaged.
    pub fn temperature(&self) -> Result<Option<Temperature>, ModelError> {
        let found: Option<Temperature> =
            from_metadata(&self.metadata, keys::TEMPERATURE, &self.origin)?;
        if found.is_some_and(|found| !found.is_possible()) {
            return Err(ModelError::Metadata {
                origin: self.origin.clone(),
                key: keys::TEMPERATURE,
                reason: "is not a positive number".to_owned(),
            });
        }
        Ok(found)
    }

    /// The classifier whose logits are divided by the temperature, so that its probabilities are
    /// calibrated: the weights and biases of the head are divided. Returns the temperature too. A
    /// classifier that is calibrated already stays as it is.
    ///
    /// # Errors
    /// If the model has no temperature.
    pub fn into_calibrated(mut self) -> Result<(Self, Temperature), ModelError> {
        if let Some(done) = from_metadata(&self.metadata, keys::CALIBRATED, &self.origin)? {
            return Ok((self, done));
        }
        let Some(found) = self.temperature()? else {
            return Err(ModelError::NoTemperature { origin: self.origin });
        };
        let head = self.graph.backbone();
        for parameter in parameters(&self.graph).iter().filter(|tensor| tensor.node >= head) {
            let tensor = self.state.get_mut(&parameter.name).into_iter().flatten();
            tensor.for_each(|value| *value = (f64::from(*value) / found.temperature) as f32);
        }
        if let Some(entry) = self.metadata.remove(keys::TEMPERATURE) {
            self.metadata.insert(keys::CALIBRATED.into(), entry);
        }
        Ok((self, found))
    }
}
