//! The facts about an option from which its flag, its check, comparisons and documentation follow.

use super::TrainConfig;
use std::ffi::OsStr;
use std::fmt;

/// Groups of options in help and documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// Which model a run starts from.
    Source,
    /// Which images it learns from, and how they become the network's input.
    Images,
    /// The parts of the source model that are kept.
    Transfer,
    /// How steps are made.
    Training,
    /// Options against overfitting.
    Regularisation,
    /// The hardware that it runs on.
    Machine,
}

impl Heading {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 6] = [
        Self::Source,
        Self::Images,
        Self::Transfer,
        Self::Training,
        Self::Regularisation,
        Self::Machine,
    ];

    /// Its title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Source => "Source model",
            Self::Images => "Images",
            Self::Transfer => "Transfer",
            Self::Training => "Training",
            Self::Regularisation => "Regularisation",
            Self::Machine => "Machine",
        }
    }
}

/// The part of a run without which an option means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// Steps of training.
    Steps,
    /// Steps, or augmented views that the head is fitted to.
    Views,
}

/// The effect of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The result: a run with another value is another run.
    Result,
    /// Nothing by itself. Runs are compared by the images or tensors that it names, or it says only
    /// what to do in future.
    Named,
    /// How fast a run is, but no bit of its result.
    Speed,
}

/// The values that a number may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Range {
    /// Any, or another check decides.
    Any,
    /// From the first to the second, both included.
    Between(f64, f64),
    /// From the first, included, to the second, excluded.
    Below(f64, f64),
    /// Above the first, up to the second.
    AboveUpTo(f64, f64),
    /// Finite and above.
    Above(f64),
    /// Finite and at least.
    From(f64),
}

impl Range {
    fn contains(self, number: f64) -> bool {
        match self {
            Self::Any => true,
            Self::Between(low, high) => (low..=high).contains(&number),
            Self::Below(low, high) => (low..high).contains(&number),
            Self::AboveUpTo(low, high) => number > low && number <= high,
            Self::Above(low) => number > low && number.is_finite(),
            Self::From(low) => number >= low && number.is_finite(),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(formatter, "anything"),
            Self::Between(low, high) => write!(formatter, "from {low} to {high}"),
            Self::Below(low, high) => write!(formatter, "from {low} to below {high}"),
            Self::AboveUpTo(low, high) => write!(formatter, "above {low} and up to {high}"),
            Self::Above(low) => write!(formatter, "a number above {low}"),
            Self::From(low) => write!(formatter, "a number from {low}"),
        }
    }
}

/// The facts that an entry of the table states beside name, type and defaults.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub heading: Heading,
    pub value: &'static str,
    pub default_text: Option<&'static str>,
    pub negated_help: &'static str,
    pub range: Range,
    pub example: &'static str,
    pub needs: Needs,
    pub effect: Effect,
    pub is_common: bool,
    pub has_flag: bool,
}

/// An entry under a heading. Methods state the rest.
pub(super) const fn about(heading: Heading) -> About {
    About {
        heading,
        value: "",
        default_text: None,
        negated_help: "",
        range: Range::Any,
        example: "",
        needs: Needs::Nothing,
        effect: Effect::Result,
        is_common: false,
        has_flag: true,
    }
}

impl About {
    /// The name of its value in help.
    pub const fn value(self, value: &'static str) -> Self {
        Self { value, ..self }
    }

    /// Its default, in words.
    pub const fn default_is(self, text: &'static str) -> Self {
        Self { default_text: Some(text), ..self }
    }

    /// The values that it may have.
    pub const fn range(self, range: Range) -> Self {
        Self { range, ..self }
    }

    /// A value to try, for errors and help.
    pub const fn such_as(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// It means nothing without steps.
    pub const fn needs_steps(self) -> Self {
        Self { needs: Needs::Steps, ..self }
    }

    /// It means nothing without steps or augmented views.
    pub const fn needs_views(self) -> Self {
        Self { needs: Needs::Views, ..self }
    }

    /// Its effect.
    pub const fn effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// It is in the short help.
    pub const fn common(self) -> Self {
        Self { is_common: true, ..self }
    }

    /// It has a key in configurations but no flag.
    pub const fn without_flag(self) -> Self {
        Self { has_flag: false, ..self }
    }

    /// The help of the flag `--no-NAME` of a switch that is on by default.
    pub const fn negated(self, help: &'static str) -> Self {
        Self { negated_help: help, ..self }
    }
}

/// An option of a run: everything that its flag, its key in `config.toml`, its check and its
/// documentation need.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its key in `config.toml`.
    pub name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) about: About,
    /// The words that it takes, if it takes nothing else.
    pub words: &'static [&'static str],
    /// Whether it is a yes or a no.
    pub is_switch: bool,
    /// Whether it names a file.
    pub is_path: bool,
    pub(super) set: fn(&mut TrainConfig, &OsStr) -> Result<(), String>,
    pub(super) shown: fn(&TrainConfig) -> Option<String>,
    pub(super) number: fn(&TrainConfig) -> Option<f64>,
}

impl OptionSpec {
    /// Its flag, without the hyphens in front: `batch-size`, or `no-feature-cache` for a switch
    /// that is on by default. `None` if it has no flag.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        let name = self.name.replace('_', "-");
        let negated = !self.about.negated_help.is_empty();
        self.about.has_flag.then(|| if negated { format!("no-{name}") } else { name })
    }

    /// The help of its flag, without the default.
    #[must_use]
    pub fn help(&self) -> String {
        if self.about.negated_help.is_empty() {
            self.description()
        } else {
            self.about.negated_help.to_owned()
        }
    }

    /// Its description, without the default.
    #[must_use]
    pub fn description(&self) -> String {
        let text: String = self.doc.concat();
        text.trim().trim_end_matches('.').to_owned()
    }

    /// Its default in words; `None` for a switch.
    #[must_use]
    pub fn default_text(&self) -> Option<String> {
        if self.is_switch && self.about.has_flag {
            return None;
        }
        let [own, textbook] = super::recipes().map(|config| (self.shown)(&config));
        let default = self.about.default_text.map(str::to_owned).or_else(|| own.clone());
        match textbook {
            Some(textbook) if own.as_ref() != Some(&textbook) => {
                Some(format!("{}; {textbook} with --recipe d2l", default.unwrap_or_default()))
            }
            _ => default,
        }
    }

    /// The heading that it stands under.
    #[must_use]
    pub fn heading(&self) -> Heading {
        self.about.heading
    }

    /// The name of its value in help; empty if the option's name serves.
    #[must_use]
    pub fn value_name(&self) -> &'static str {
        self.about.value
    }

    /// Whether it is one of the few that most users need.
    #[must_use]
    pub fn is_common(&self) -> bool {
        self.about.is_common
    }

    /// Its effect.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.about.effect
    }

    /// Sets it in a configuration, as its flag does with this text; a switch is turned from its
    /// default by any text.
    ///
    /// # Errors
    /// If the text is wrong, with the reason.
    pub fn set(&self, config: &mut TrainConfig, text: &OsStr) -> Result<(), String> {
        if self.is_switch {
            let is_on = self.about.negated_help.is_empty().to_string();
            return (self.set)(config, OsStr::new(&is_on));
        }
        (self.set)(config, text)
    }

    /// Whether its flag takes this text.
    ///
    /// # Errors
    /// If the text is wrong, with the reason.
    pub fn test(&self, text: &OsStr) -> Result<(), String> {
        let mut config = TrainConfig::missing();
        self.set(&mut config, text)?;
        let allowed = self.broken_range(&config);
        allowed.map_or(Ok(()), |allowed| Err(format!("it has to be {allowed}")))
    }

    /// The allowed values, if its value is not one of them.
    pub(super) fn broken_range(&self, config: &TrainConfig) -> Option<String> {
        let number = (self.number)(config)?;
        let About { range, example, .. } = self.about;
        (!range.contains(number)).then(|| {
            if example.is_empty() {
                range.to_string()
            } else {
                format!("{range}, such as {example}")
            }
        })
    }
}
