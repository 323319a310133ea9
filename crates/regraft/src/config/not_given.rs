//! What an option is where it is not given, and options that are given but mean nothing.

use super::{ConfigError, Freeze, HeadStart, OptimizerName, TrainConfig, Weights};

/// Options of steps, by their names in `config.toml`: without an epoch they say nothing.
const OF_STEPS: [&str; 19] = [
    "batch_size",
    "lr",
    "head_lr_mult",
    "layer_decay",
    "optimizer",
    "momentum",
    "weight_decay",
    "decay_bias_norm",
    "batch_norm",
    "batch_norm_momentum",
    "schedule",
    "label_smoothing",
    "loss",
    "accumulate",
    "clip_gradient",
    "ema",
    "mixup",
    "cutmix",
    "patience",
];

/// Passes over the training images, if steps are made and their number is not given.
pub(crate) const EPOCHS: u32 = 5;

/// Options of steps and of augmented views.
const OF_VIEWS: [&str; 3] = ["augment", "crop_scale", "random_erasing"];

impl TrainConfig {
    /// Whether there is no source model.
    pub(crate) fn is_from_scratch(&self) -> bool {
        self.weights == Some(Weights::None)
    }

    /// [`TrainConfig::head`], or what it is where it is not given.
    #[must_use]
    pub fn head_start(&self) -> HeadStart {
        self.head.unwrap_or(if self.is_from_scratch() { HeadStart::New } else { HeadStart::Fit })
    }

    /// [`TrainConfig::epochs`], or what they are where they are not given.
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

    /// Whether a trial is to decide if the backbone learns: asked for, or if neither depth nor
    /// epochs are given.
    pub(crate) fn decides_depth(&self) -> bool {
        let undecided = match &self.freeze {
            Some(Freeze::Auto) => true,
            None => self.epochs.is_none(),
            Some(_) => false,
        };
        undecided && self.head_start() == HeadStart::Fit && !self.is_from_scratch()
    }

    /// The same with the depth that a run, which has begun with this configuration, has decided on.
    pub(crate) fn with_depth_of(&self, begun: &Self) -> Self {
        let Self { freeze, epochs, val_fraction, refit, .. } = begun.clone();
        Self { freeze, epochs, val_fraction, refit, ..self.clone() }
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

    /// [`TrainConfig::lr`], or what it is where it is not given.
    #[must_use]
    pub fn learning_rate(&self) -> f32 {
        self.lr.unwrap_or(if self.head_start() == HeadStart::Fit { 3e-4 } else { 3e-3 })
    }

    /// [`TrainConfig::head_lr_mult`], or what it is where it is not given.
    #[must_use]
    pub fn head_rate_multiplier(&self) -> f32 {
        self.head_lr_mult.unwrap_or(if self.head_start() == HeadStart::Fit { 1.0 } else { 10.0 })
    }

    /// [`TrainConfig::val_fraction`]; where it is not given, 0 if there is no epoch to choose, else
    /// as the pictures lie.
    pub(crate) fn validation_fraction(&self) -> Option<f64> {
        self.val_fraction.or((self.epoch_count() == 0).then_some(0.0))
    }

    /// Checks that none of the options that somebody gave, by their names in `config.toml`, is
    /// about steps if the run makes none.
    ///
    /// # Errors
    /// Names them, and says what makes steps.
    pub fn check_given<'a>(
        &self,
        given: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), ConfigError> {
        if self.epoch_count() > 0 || self.freeze == Some(Freeze::Auto) {
            return Ok(());
        }
        let means_nothing = |name: &str| match name {
            "freeze" => !matches!(self.freeze, None | Some(Freeze::Backbone)),
            "warmup" => self.warmup > 0.0,
            "head_dropout" => self.head_dropout.is_some_and(|share| share > 0.0),
            _ => OF_STEPS.contains(&name) || self.views.is_none() && OF_VIEWS.contains(&name),
        };
        let options: Vec<String> = given
            .into_iter()
            .filter(|name| means_nothing(name))
            .map(|name| format!("--{}", name.replace('_', "-")))
            .collect();
        if options.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::WithoutSteps { options: options.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;
    use std::num::NonZeroU32;
    use std::path::Path;

    fn with(change: impl Fn(&mut TrainConfig)) -> TrainConfig {
        let mut config = TrainConfig::recipe(Recipe::Default, Path::new("photos"));
        change(&mut config);
        config
    }

    #[test]
    fn a_fitted_head_on_a_frozen_trunk_has_nothing_to_learn() {
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
        // The features of a network that knows nothing are nothing to fit a head to.
        assert_eq!(
            rates(&|config| config.weights = Some(Weights::None)),
            (HeadStart::New, 3e-3, 10.0)
        );
    }

    #[test]
    fn pictures_are_held_out_where_there_is_an_epoch_to_choose() {
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

    #[test]
    fn options_of_steps_are_refused_where_there_are_none() {
        let config = with(|config| config.lr = Some(0.1));
        let error = config
            .check_given(["seed", "lr", "weight_decay", "augment"])
            .expect_err("they mean nothing")
            .to_string();
        assert!(error.starts_with("--lr, --weight-decay, --augment "), "{error}");
        assert!(config.check_given(["seed", "freeze", "views"]).is_ok());
        assert!(with(|config| config.epochs = Some(1)).check_given(["lr"]).is_ok());
        assert!(with(|config| config.head = Some(HeadStart::New)).check_given(["lr"]).is_ok());
        assert!(with(|config| config.views = NonZeroU32::new(2)).check_given(["augment"]).is_ok());
        let fixed = with(|config| (config.epochs, config.freeze) = (Some(0), Some(Freeze::None)));
        assert!(fixed.check_given(["freeze"]).is_err());
    }
}
