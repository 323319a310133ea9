//! Options by their names, and in which of them two configurations differ.

use super::{Effect, OptionSpec, TrainConfig, option};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Every option of a configuration by its key in `config.toml`, with numbers as they come back from
/// a file; null if it is left to the source model.
#[must_use]
pub fn options(config: &TrainConfig) -> Map<String, Value> {
    serde_json::to_string(config).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

/// An option that two configurations have different values of.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The option's name.
    pub name: String,
    /// Its value in the first configuration; `None` if that does not have it.
    pub before: Option<Value>,
    /// Its value in the second.
    pub after: Option<Value>,
}

impl Difference {
    /// The effect of the option.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self.name.as_str() {
            "data" => Effect::Named,
            name => option(name).map_or(Effect::Result, OptionSpec::effect),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} instead of {}",
            self.name,
            shown(self.after.as_ref()),
            shown(self.before.as_ref())
        )
    }
}

/// An option's value in words.
pub(crate) fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "not given".to_owned(),
        // An option that came as an f32 has few digits that mean anything.
        Some(value) => match value.as_f64().filter(|_| value.is_f64()) {
            Some(number) => format!("{:?}", number as f32),
            None => value.to_string(),
        },
    }
}

/// The options in which two configurations differ, in the order of their names.
#[must_use]
pub fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Difference> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differ
        .map(|name| Difference {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Freeze, Recipe};
    use std::path::Path;

    #[test]
    fn each_option_that_differs_is_named_with_both_values() {
        let before = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        assert_eq!(differences(&options(&before), &options(&before)), []);
        let after = TrainConfig {
            lr: Some(4e-5),
            freeze: Some(Freeze::Backbone),
            image_size: Some(160),
            ..before.clone()
        };
        let found = differences(&options(&before), &options(&after));
        let expected = [
            "freeze \"backbone\" instead of \"none\"",
            "image_size 160 instead of not given",
            "lr 4e-5 instead of 5e-5",
        ]
        .map(str::to_owned);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }
}
