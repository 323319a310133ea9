//! The options of a run as flags, and how they become a configuration.

use super::one_of;
use super::option_flags::{OptionFlags, Selection};
use crate::failure::Failure;
use clap::Args;
use regraft::config::{HeadStart, Recipe, TrainConfig, differences, options};
use std::path::{Path, PathBuf};

/// The use that a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A run. Options of steps are an error if it makes none.
    Steps,
    /// Something that does without steps, or plans them later.
    Other,
}

/// Options of a run. Those that are not given come from --config, or else from the recipe.
#[derive(Debug, Args)]
pub struct RunOptions<S: Selection> {
    /// Take all options from the config.toml of a run; flags override them
    #[arg(long, value_name = "FILE", conflicts_with = "recipe")]
    pub config: Option<PathBuf>,
    /// Named set of defaults: default, or d2l, the textbook's recipe to the letter [default:
    /// default]
    #[arg(long, value_parser = one_of::<Recipe>(&["default", "d2l"]), hide_possible_values = true,
        value_name = "NAME")]
    pub recipe: Option<Recipe>,
    #[command(flatten)]
    pub flags: OptionFlags<S>,
}

impl<S: Selection> RunOptions<S> {
    /// The configuration that the flags stand for, for images in `data`. It starts from that of the
    /// run folder `run`, from --config, or from the recipe.
    pub fn resolve(
        &self,
        data: Option<&Path>,
        run: Option<&Path>,
        use_of: Use,
    ) -> Result<TrainConfig, Failure> {
        let mut config = match self.config.as_deref().or(run) {
            Some(path) => TrainConfig::read(path).map_err(Failure::input)?,
            None => TrainConfig::recipe(
                self.recipe.unwrap_or(Recipe::Default),
                data.unwrap_or("".as_ref()),
            ),
        };
        let base = options(&config);
        let Self { flags, .. } = self;
        // A model and weights belong together: one that is given does not keep the configuration's
        // other one, which may contradict it.
        if self.config.is_some() {
            match (flags.gives("model"), flags.gives("weights")) {
                (true, false) => config.weights = None,
                (false, true) => config.model = None,
                _ => {}
            }
        }
        if let Some(data) = data {
            config.data = data.to_owned();
        }
        flags.apply(&mut config)?;
        if flags.gives("head_map") && !flags.gives("head") {
            config.head = Some(HeadStart::Reuse);
        }
        config.check().map_err(Failure::input)?;
        if use_of == Use::Steps {
            let changed = differences(&base, &options(&config));
            config
                .check_given(changed.iter().map(|difference| difference.name.as_str()))
                .map_err(Failure::input)?;
        }
        Ok(config)
    }
}
