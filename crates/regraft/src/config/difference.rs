//! In which options two configurations differ.

use super::{ConfigError, TrainConfig};
use std::fmt;
use toml::{Table, Value};

/// An option that two configurations have different values of. A value is `None` where the option is left to the source model.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The option's name in `config.toml`.
    pub name: String,
    /// Its value in the first configuration.
    pub before: Option<Value>,
    /// Its value in the second.
    pub after: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} instead of {}", self.name, shown(self.after.as_ref()), shown(self.before.as_ref()))
    }
}

/// An option's value as `config.toml` has it.
pub(crate) fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not given".to_owned(),
        // An option that came as an f32 has few digits that mean anything.
        Some(Value::Float(number)) => format!("{:?}", *number as f32),
        Some(value) => value.to_string(),
    }
}

/// The options in which two configurations differ, in the order of their names, but for those of `without`.
///
/// # Errors
/// When a value has no form in TOML.
pub fn differences(before: &TrainConfig, after: &TrainConfig, without: &[&str]) -> Result<Vec<Difference>, ConfigError> {
    let table = |config| Table::try_from(config).map_err(|source| ConfigError::Write(Box::new(source)));
    let (before, after): (Table, Table) = (table(before)?, table(after)?);
    let mut names: Vec<&String> = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))).collect();
    names.sort();
    let differ = names.into_iter().filter(|name| !without.contains(&name.as_str()) && before.get(*name) != after.get(*name));
    Ok(differ
        .map(|name| Difference { name: name.clone(), before: before.get(name).cloned(), after: after.get(name).cloned() })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Freeze, Recipe};
    use std::path::Path;

    #[test]
    fn each_option_that_differs_is_named_with_both_values() {
        let before = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        assert_eq!(differences(&before, &before, &[]).expect("TOML"), []);
        let after = TrainConfig { lr: 4e-5, freeze: Some(Freeze::Trunk), image_size: Some(160), threads: 3, ..before.clone() };
        let found = differences(&before, &after, &["threads"]).expect("TOML");
        let expected = ["freeze \"trunk\" instead of \"none\"", "image_size 160 instead of not given", "lr 4e-5 instead of 5e-5"]
            .map(str::to_owned);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }
}
