//! Every option of a training run, which `config.toml` holds and `regraft train --config` takes
//! back.
//!
//! `table` declares the options; `derived` computes those that are not given.

mod check;
mod derived;
mod difference;
mod error;
mod interval;
mod spec;
mod stored_path;
mod table;
mod value;
mod words;

pub(crate) use derived::EPOCHS;
#[cfg(feature = "report")]
pub(crate) use difference::shown;
pub use difference::{Difference, differences, options};
pub use error::{ConfigError, Contradiction};
pub use interval::Interval;
pub use spec::{Effect, Heading, OptionSpec};
pub(crate) use stored_path::escaped;
pub use table::{OPTIONS, TrainConfig, TrainConfigBuilder};
pub use words::{
    Balance, BatchNormMode, CacheImages, Freeze, HeadStart, Keep, LossReduction, OnBadImage, OnNan,
    OptimizerName, PrecisionChoice, Recipe, Resize, Schedule, Weights,
};

use regraft_data::decode::DecodeOptions;
use regraft_data::named_file::{MAX_OPTIONS_BYTES, read_text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The most images in a batch, and the most batches in a step.
pub const MOST_BATCH: usize = 65_536;

/// The most passes over the training images. A run's files name them with six digits.
pub const MOST_EPOCHS: u32 = 999_999;

/// The most augmented views of each training image.
const MOST_VIEWS: u32 = 1000;

/// The largest whole number that TOML holds.
const MOST_IN_TOML: u64 = i64::MAX as u64;

/// The most threads of either kind. Far more than there are cores only take memory, and minutes to
/// start.
pub const MOST_THREADS: usize = 1024;

/// As many threads as were asked for, or one for each core.
pub(crate) fn cores_or(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// The entry of an option in the table, by its key in `config.toml`.
#[must_use]
pub fn option(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// Both recipes without data.
fn recipes() -> [TrainConfig; 2] {
    [Recipe::Default, Recipe::D2l].map(|recipe| TrainConfig::recipe(recipe, Path::new("")))
}

impl TrainConfig {
    /// The default recipe's options for the images in `data`, to be changed.
    pub fn builder(data: impl Into<PathBuf>) -> TrainConfigBuilder {
        TrainConfigBuilder::new(Self::recipe(Recipe::Default, &data.into()))
    }

    /// A configuration that lacks everything, for options that a file does not name.
    fn missing() -> Self {
        Self::recipe(Recipe::Default, Path::new(""))
    }

    /// The limits within which a file counts as a readable image.
    #[must_use]
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            max_pixels: self.max_pixels,
            allow_truncated: self.allow_truncated,
            ..DecodeOptions::default()
        }
    }

    /// Reads a `config.toml`. Options that it does not name are those of its recipe.
    ///
    /// # Errors
    /// If the file cannot be read, or has an option that is unknown or wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path, MAX_OPTIONS_BYTES)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let wrong = |source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) };
        // Reading the text directly gives errors their place in the file.
        let written: Self = toml::from_str(&text).map_err(wrong)?;
        let table: Table = toml::from_str(&text).map_err(wrong)?;
        Self::overlay(&written.data, &[&table])
    }

    /// The options of a recipe for the images in `data`, with those of each table laid over the
    /// ones before. The last table that names a recipe decides.
    ///
    /// # Errors
    /// If a table has an option that is unknown or wrong.
    pub fn overlay(data: &Path, tables: &[&Table]) -> Result<Self, ConfigError> {
        let wrong =
            |source| ConfigError::Parse { path: "its options".into(), source: Box::new(source) };
        let recipe = match tables.iter().rev().find_map(|table| table.get("recipe")) {
            Some(recipe) => recipe.clone().try_into().map_err(wrong)?,
            None => Recipe::Default,
        };
        let config = Self::recipe(recipe, data);
        let mut all =
            Table::try_from(&config).map_err(|source| ConfigError::Write(Box::new(source)))?;
        for (name, value) in tables.iter().flat_map(|table| table.iter()) {
            all.insert(name.clone(), value.clone());
        }
        Value::Table(all).try_into().map_err(wrong)
    }

    /// Reads a file for [`TrainConfig::head_map`]: TOML with a list of the source's classes for
    /// each new class.
    ///
    /// # Errors
    /// If the file cannot be read or is not such a map.
    pub fn read_head_map(path: &Path) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
        let text = read_text(path, MAX_OPTIONS_BYTES)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::HeadMap {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// The text of a `config.toml`.
    ///
    /// # Errors
    /// If a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let version = env!("CARGO_PKG_VERSION");
        let text = toml::to_string(self).map_err(|source| ConfigError::Write(Box::new(source)))?;
        Ok(format!(
            "# Every option of this run, as Regraft {version} resolved it.\n# `regraft train \
             --config` with this file repeats it.\n\n{text}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::num::NonZeroU32;

    #[test]
    fn a_configuration_comes_back_as_it_was_written() {
        for recipe in [Recipe::Default, Recipe::D2l] {
            let mut config = TrainConfig::recipe(recipe, Path::new("photos"));
            config.check().expect("recipes are possible");
            config.freeze = Some(Freeze::Through("layer3".into()));
            config.weights = Some(Weights::File("a.pth".into()));
            config.image_size = Some(160);
            config.head = Some(HeadStart::Reuse);
            config.head_map =
                Some([("hot dog".to_owned(), vec!["hotdog".to_owned(), "bun".to_owned()])].into());
            config.views = NonZeroU32::new(2);
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("config.toml");
            std::fs::write(&path, config.to_toml().expect("TOML")).expect("written");
            assert_eq!(TrainConfig::read(&path).expect("read"), config);
        }
    }

    #[test]
    fn options_that_a_file_does_not_name_are_those_of_its_recipe() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "data = \"photos\"\nrecipe = \"d2l\"\nlr = 1e-3\n").expect("written");
        let mut expected = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        expected.lr = Some(1e-3);
        assert_eq!(TrainConfig::read(&path).expect("read"), expected);
    }

    #[test]
    fn the_textbooks_recipe_is_kept_to_the_letter() {
        let config = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        assert_eq!(
            (config.optimizer, config.momentum, config.learning_rate(), config.weight_decay),
            (OptimizerName::Sgd, 0.0, 5e-5, 1e-3)
        );
        assert_eq!(
            (config.batch_size, config.epoch_count(), config.schedule),
            (128, 5, Schedule::Constant)
        );
        assert_eq!(
            (config.loss, config.head_lr_mult, config.val_fraction),
            (LossReduction::Sum, Some(10.0), Some(0.0))
        );
        assert_eq!(
            (config.test_each_epoch, config.keep, config.freeze),
            (true, Keep::Last, Some(Freeze::None))
        );
    }

    #[test]
    fn the_table_sets_every_option_that_has_a_flag() {
        let mut config = TrainConfig::recipe(Recipe::Default, Path::new("photos"));
        let mut set = |name: &str, text: &str| {
            option(name).expect("an option").set(&mut config, OsStr::new(text))
        };
        set("lr", "5e-5").expect("a rate");
        set("feature_cache", "").expect("a switch");
        set("refit", "").expect("a switch");
        assert_eq!(
            set("seed", "-1").expect_err("negative"),
            "it is not in 0..=18446744073709551615"
        );
        assert_eq!((config.lr, config.feature_cache, config.refit), (Some(5e-5), false, true));
    }

    #[test]
    fn help_says_every_default() {
        let default = |name: &str| option(name).expect("an option").default_text();
        assert_eq!(default("batch_size").as_deref(), Some("32; 128 with --recipe d2l"));
        assert_eq!(default("seed").as_deref(), Some("0"));
        assert_eq!(default("refit"), None);
        let without: Vec<&str> = OPTIONS
            .iter()
            .filter(|option| !option.is_switch && option.default_text().is_none())
            .map(|option| option.name)
            .collect();
        assert_eq!(without, [""; 0], "these have no default in their help");
    }

    #[test]
    fn a_builder_checks_what_it_builds() {
        let config = TrainConfig::builder("photos").epochs(3).lr(1e-3).freeze(Freeze::None).build();
        let config = config.expect("possible");
        assert_eq!((config.epochs, config.lr), (Some(3), Some(1e-3)));
        let error = TrainConfig::builder("photos").momentum(1.0).build().expect_err("impossible");
        assert_eq!(error.to_string(), "momentum is 1; it has to be from 0 to below 1");
    }
}
