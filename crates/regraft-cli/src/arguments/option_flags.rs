//! Flags for options of a run, made from the library's table of options. A command states which
//! options mean something to it.

use crate::failure::Failure;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use regraft::config::{Heading, OPTIONS, OptionSpec, Recipe, TrainConfig};
use std::ffi::OsString;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::Path;
use toml::Table;

/// The options that a command has flags for.
pub trait Selection: Clone + Debug + Send + Sync + 'static {
    /// Whether an option is among them.
    fn has(option: &OptionSpec) -> bool;
}

/// Declares selections: by the options that are in them, or by those that are not.
macro_rules! selections {
    ($($(#[$attribute:meta])+ $name:ident = $is:expr, [$($option:literal),* $(,)?];)+) => {$(
        $(#[$attribute])+
        #[derive(Clone, Debug)]
        pub struct $name;

        $(#[$attribute])+
        impl Selection for $name {
            fn has(option: &OptionSpec) -> bool {
                [$($option),*].contains(&option.name) == $is
            }
        }
    )+};
}

selections! {
    /// Everything: `regraft train` and `regraft show`.
    All = false, [];
    /// All options but those of the schedule and of the time between steps: `regraft lr-find`.
    RangeTest = false, [
        "checkpoint_every", "ema", "epochs", "lr", "on_nan", "patience", "refit", "schedule",
        "warmup",
    ];
    /// How a finished model is run: `regraft evaluate` and `regraft predict`.
    Inference = true, [
        "on_bad_image", "max_pixels", "allow_truncated", "full_decode", "cache_images", "precision",
        "threads", "workers", "device",
    ];
    /// `regraft audit`.
    Audit = true, [
        "exclude", "max_pixels", "allow_truncated", "seed", "threads", "workers", "device",
    ];
    /// Options that a comparison gives to all arms.
    Comparison = true, [
        "model", "weights", "epochs", "image_size", "precision", "threads", "workers", "device",
    ];
    /// `regraft bench step`.
    StepBench = true, ["precision", "threads", "device"];
    /// `regraft models --suggest`.
    Suggesting = true, [
        "exclude", "max_pixels", "allow_truncated", "full_decode", "seed", "threads", "workers",
        "device",
    ];
    /// `regraft bench zoo`.
    ZooBench = true, ["threads", "device"];
    /// `regraft bench load`.
    LoadBench = true, ["max_pixels", "allow_truncated", "full_decode", "workers"];
    /// The check of `regraft export`.
    #[cfg(feature = "export")]
    ExportCheck = true, ["threads"];
}

/// Flags for a selection of options, with the text that was given for each.
#[derive(Clone, Debug)]
pub struct OptionFlags<S> {
    given: Vec<(&'static OptionSpec, OsString)>,
    selection: PhantomData<S>,
}

impl<S: Selection> OptionFlags<S> {
    /// The options, grouped as in the help.
    fn options() -> impl Iterator<Item = &'static OptionSpec> {
        let under = |heading| OPTIONS.iter().filter(move |option| option.heading() == heading);
        let all = Heading::ALL.into_iter().flat_map(under);
        all.filter(|option| S::has(option) && option.flag().is_some())
    }

    /// Whether an option was given, by its key in `config.toml`.
    pub fn gives(&self, name: &str) -> bool {
        self.given.iter().any(|(option, _)| option.name == name)
    }

    /// Sets the options that were given.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<(), Failure> {
        for (option, text) in &self.given {
            option.set(config, text).map_err(|problem| {
                let flag = option.flag().unwrap_or_default();
                Failure::input(anyhow::anyhow!("--{flag}: {problem}"))
            })?;
        }
        Ok(())
    }

    /// The default recipe with the options that were given.
    pub fn on_defaults(&self) -> Result<TrainConfig, Failure> {
        let mut config = TrainConfig::recipe(Recipe::Default, Path::new(""));
        self.apply(&mut config)?;
        Ok(config)
    }

    /// The options that were given, in the form of `config.toml`.
    pub fn table(&self) -> Result<Table, Failure> {
        let mut table = Table::try_from(self.on_defaults()?).map_err(Failure::input)?;
        table.retain(|name, _| self.gives(name));
        Ok(table)
    }
}

fn arg(option: &'static OptionSpec) -> Arg {
    let default = option.default_text().map_or(String::new(), |text| format!(" [default: {text}]"));
    let arg = Arg::new(option.name)
        .long(option.flag().unwrap_or_default())
        .help(format!("{}{default}", option.help()))
        .help_heading(option.heading().title())
        .hide_short_help(!option.is_common());
    if option.is_switch {
        return arg.action(ArgAction::SetTrue);
    }
    let arg = match option.value_name() {
        "" => arg.value_name(option.name.to_uppercase().replace('_', "-")),
        name => arg.value_name(name),
    };
    if !option.words.is_empty() {
        arg.value_parser(PossibleValuesParser::new(option.words).map(OsString::from))
    } else if option.is_path {
        arg.value_parser(OsStringValueParser::new())
    } else {
        let parser = OsStringValueParser::new();
        arg.value_parser(parser.try_map(|text| option.test(&text).map(|()| text)))
    }
}

impl<S: Selection> Args for OptionFlags<S> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::options().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> FromArgMatches for OptionFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let is_given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let text = |option: &OptionSpec| match option.is_switch {
            true => OsString::new(),
            false => matches.get_one::<OsString>(option.name).cloned().unwrap_or_default(),
        };
        let given = Self::options().filter(|option| is_given(option.name));
        let given = given.map(|option| (option, text(option))).collect();
        Ok(Self { given, selection: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
