//! The values of options that are not given.

use super::{Freeze, HeadStart, OptimizerName, TrainConfig, Weights};

/// Passes over the training images, if steps are made and their number is not given.
pub(crate) const EPOCHS: u32 = 5;

impl TrainConfig {
    /// Whether there is no source model.
    pub(crate) fn is_from_scratch(&self) -> bool {
        self.weights == Some(Weights::None)
    }

    /// [`TrainConfig::head`], or its default if it is not given.
    #[must_use]
    pub fn head_start(&self) -> HeadStart {
        self.head.unwrap_or(if self.is_from_scratch() { HeadStart::New } else { HeadStart::Fit })
    }

    /// [`TrainConfig::epochs`], or their default if they are not given.
    #[must_use]
    pub fn epoch_count(&self) -> u32 {
        if self.decides_depth() {
            return 0;
        }
        let backbone_learns = self.is_from_scratch()
            || !matches!(self.freeze, None | Some(Freeze::Auto | Freeze::Backbone));
        self.epochs.unwrap_or(if self.head_start() == HeadStart::Fit && !backbone_learns {
            0
        } else {
            EPOCHS
        })
    }

    /// Whether a trial decides if the backbone learns: it was asked for, or neither depth nor
    /// epochs are given.
    pub(crate) fn decides_depth(&self) -> bool {
        let undecided = match &self.freeze {
            Some(Freeze::Auto) => true,
            None => self.epochs.is_none(),
            Some(_) => false,
        };
        undecided && self.head_start() == HeadStart::Fit && !self.is_from_scratch()
    }

    /// The same with the depth that a run that has begun with this configuration has decided on.
    #[cfg(feature = "report")]
    pub(crate) fn with_depth_of(&self, begun: &Self) -> Self {
        let Self { freeze, epochs, val_fraction, refit, .. } = begun.clone();
        Self { freeze, epochs, val_fraction, refit, ..self.clone() }
    }

    /// The same with the commit and the hash of weights of a hub that a run has begun with, unless
    /// it names other weights.
    #[cfg(feature = "report")]
    pub(crate) fn with_source_of(&self, begun: &Self) -> Self {
        match self.weights {
            None | Some(Weights::Hub(_)) => {
                let Self { model, weights, .. } = begun.clone();
                Self { model, weights, ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// Whether the learning rate is measured: none is given, and steps of SGD change a backbone
    /// whose head was fitted.
    pub(crate) fn measures_rate(&self) -> bool {
        let backbone_learns = !matches!(self.freeze, None | Some(Freeze::Auto | Freeze::Backbone));
        let fitted = self.head_start() == HeadStart::Fit;
        self.lr.is_none()
            && fitted
            && backbone_learns
            && self.epoch_count() > 0
            && self.optimizer == OptimizerName::Sgd
    }

    /// [`TrainConfig::lr`], or its default if it is not given.
    #[must_use]
    pub fn learning_rate(&self) -> f32 {
        self.lr.unwrap_or(if self.head_start() == HeadStart::Fit { 3e-4 } else { 3e-3 })
    }

    /// [`TrainConfig::head_lr_mult`], or its default if it is not given.
    #[must_use]
    pub fn head_rate_multiplier(&self) -> f32 {
        self.head_lr_mult.unwrap_or(if self.head_start() == HeadStart::Fit { 1.0 } else { 10.0 })
    }

    /// [`TrainConfig::val_fraction`]; if it is not given, 0 if there is no epoch to choose, and
    /// otherwise it depends on how the images lie.
    pub(crate) fn validation_fraction(&self) -> Option<f64> {
        self.val_fraction.or((self.epoch_count() == 0).then_some(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;
    use std::path::Path;

    fn with(change: impl Fn(&mut TrainConfig)) -> TrainConfig {
        let mut config = TrainConfig::recipe(Recipe::Default, Path::new("photos"));
        change(&mut config);
        config
    }

    #[test]
    fn a_fitted_head_on_a_frozen_backbone_has_nothing_to_learn() {
        let epochs = |change: &dyn Fn(&mut TrainConfig)| with(change).epoch_count();
        assert_eq!(
            (epochs(&|_| ()), epochs(&|config| config.freeze = Some(Freeze::Backbone))),
            (0, 0)
        );
        assert_eq!(epochs(&|config| config.epochs = Some(3)), 3);
        assert_eq!(epochs(&|config| config.head = Some(HeadStart::Reuse)), 5);
        assert_eq!(epochs(&|config| config.freeze = Some(Freeze::None)), 5);
        assert_eq!(epochs(&|config| config.weights = Some(Weights::None)), 5);
    }

    #[test]
    fn rates_are_those_of_what_the_head_starts_from() {
        let rates = |change: &dyn Fn(&mut TrainConfig)| {
            let config = with(change);
            (config.head_start(), config.learning_rate(), config.head_rate_multiplier())
        };
        assert_eq!(rates(&|_| ()), (HeadStart::Fit, 3e-4, 1.0));
        assert_eq!(
            rates(&|config| config.head = Some(HeadStart::New)),
            (HeadStart::New, 3e-3, 10.0)
        );
        // A head is not fitted to the features of random weights.
        assert_eq!(
            rates(&|config| config.weights = Some(Weights::None)),
            (HeadStart::New, 3e-3, 10.0)
        );
    }

    #[test]
    fn images_are_held_out_if_there_is_an_epoch_to_choose() {
        let fraction = |epochs, val_fraction| {
            with(|config| (config.epochs, config.val_fraction) = (epochs, val_fraction))
                .validation_fraction()
        };
        assert_eq!((fraction(None, None), fraction(Some(2), None)), (Some(0.0), None));
        assert_eq!(
            (fraction(None, Some(0.3)), fraction(Some(2), Some(0.0))),
            (Some(0.3), Some(0.0))
        );
    }
}
