//! Checks of a configuration.

use super::spec::Needs;
use super::words::BatchNormMode;
use super::{
    ConfigError, Contradiction, Freeze, HeadStart, Keep, MOST_IN_TOML, OPTIONS, TrainConfig, option,
};

impl TrainConfig {
    /// Checks every value that has a range, and options that contradict each other.
    ///
    /// # Errors
    /// Names the option and the values that are allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        for option in OPTIONS {
            if let Some(allowed) = option.broken_range(self) {
                let value = (option.shown)(self).unwrap_or_default();
                return Err(ConfigError::Value { option: option.name, value, allowed });
            }
        }
        // A range is compared as f64, which cannot tell the last seeds apart.
        if self.seed > MOST_IN_TOML {
            return Err(ConfigError::Value {
                option: "seed",
                value: self.seed.to_string(),
                allowed: format!("at most {MOST_IN_TOML}, the largest number that TOML holds"),
            });
        }
        let fits = self.head_start() == HeadStart::Fit;
        let epochs = self.epoch_count();
        let contradiction = if self.data.as_os_str().is_empty() {
            Contradiction::NoData
        } else if epochs == 0 && !fits {
            Contradiction::NothingToTrain
        } else if self.head_map.is_some() && self.head_start() != HeadStart::Reuse {
            Contradiction::HeadMapWithoutReuse
        } else if self.freeze == Some(Freeze::Auto) && !fits {
            Contradiction::AutoWithoutFit
        } else if self.refit && !fits {
            Contradiction::RefitWithoutFit
        } else if self.refit && self.views.is_some() {
            Contradiction::RefitOfViews
        } else if epochs > 0 && self.warmup >= epochs as f32 {
            Contradiction::LongWarmup { warmup: self.warmup, epochs }
        } else if self.patience.is_some() && self.keep == Keep::Last {
            Contradiction::PatienceWithoutBest
        } else if self.sync_batch_norm && !self.follows_batches() {
            Contradiction::SyncOfRunning
        } else {
            self.device.resolve()?;
            return Ok(());
        };
        Err(ConfigError::Contradiction(contradiction))
    }

    /// Whether batch norms normalise with a batch's statistics in training.
    fn follows_batches(&self) -> bool {
        match self.batch_norm {
            Some(mode) => mode == BatchNormMode::Batch,
            None => self.is_from_scratch(),
        }
    }

    /// Checks that none of the options that somebody gave, by their keys in `config.toml`, is about
    /// steps if the run makes none.
    ///
    /// # Errors
    /// Names them.
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
            _ => match option(name).map(|option| option.about.needs) {
                Some(Needs::Steps) => true,
                Some(Needs::Views) => self.views.is_none(),
                Some(Needs::Nothing) | None => false,
            },
        };
        let options: Vec<String> =
            given.into_iter().filter(|name| means_nothing(name)).map(str::to_owned).collect();
        if options.is_empty() { Ok(()) } else { Err(ConfigError::WithoutSteps { options }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Recipe, TrainConfig};
    use crate::engines::{Device, DeviceChoice};
    use std::num::NonZeroU32;
    use std::path::Path;

    fn with(change: impl Fn(&mut TrainConfig)) -> TrainConfig {
        let mut config = TrainConfig::recipe(Recipe::Default, Path::new("photos"));
        change(&mut config);
        config
    }

    #[test]
    fn impossible_values_are_named() {
        let error = |change: &dyn Fn(&mut TrainConfig)| {
            let config = with(|config| {
                config.head = Some(HeadStart::New);
                change(config);
            });
            config.check().expect_err("impossible").to_string()
        };
        assert_eq!(
            error(&|config| config.lr = Some(-1.0)),
            "lr is -1; it has to be a number above 0, such as 5e-5"
        );
        assert_eq!(
            error(&|config| config.warmup = 99.0),
            "a warm-up of 99 epochs does not end within the 5 epochs of the run"
        );
        let sync = error(&|config| config.sync_batch_norm = true);
        assert!(sync.contains("running statistics"), "{sync}");
        assert!(error(&|config| config.label_smoothing = f32::NAN).contains("is NaN"));
        assert!(error(&|config| config.epochs = Some(0)).contains("nothing to train"));
        let gpu = error(&|config| config.device = DeviceChoice::Listed(vec![Device::Gpu(1)]));
        assert!(gpu.contains("gpu:1"), "{gpu}");
        let freeze = Freeze::try_from("layer3".to_owned()).expect_err("no such word").to_string();
        assert_eq!(
            freeze,
            "freeze is layer3; it has to be auto, none, backbone, through=LAYER or gradual=EPOCHS"
        );
        assert!(
            Freeze::try_from("gradual=0".to_owned()).is_err()
                && Freeze::try_from("backbone=1".to_owned()).is_err()
        );
    }

    #[test]
    fn options_of_steps_are_refused_if_there_are_none() {
        let config = with(|config| config.lr = Some(0.1));
        let error = config
            .check_given(["seed", "lr", "weight_decay", "augment"])
            .expect_err("they mean nothing")
            .to_string();
        assert!(error.starts_with("lr, weight_decay, augment "), "{error}");
        assert!(config.check_given(["seed", "freeze", "views"]).is_ok());
        assert!(with(|config| config.epochs = Some(1)).check_given(["lr"]).is_ok());
        assert!(with(|config| config.head = Some(HeadStart::New)).check_given(["lr"]).is_ok());
        assert!(with(|config| config.views = NonZeroU32::new(2)).check_given(["augment"]).is_ok());
        let fixed = with(|config| (config.epochs, config.freeze) = (Some(0), Some(Freeze::None)));
        assert!(fixed.check_given(["freeze"]).is_err());
    }
}
