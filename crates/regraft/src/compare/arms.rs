//! The arms of a comparison: named sets of training options, from a TOML file.

use crate::config::{ConfigError, TrainConfig};
use regraft_data::named_file::{MAX_OPTIONS_BYTES, read_text};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The arms that are compared where no file names others.
pub const DEFAULT_ARMS: &str = include_str!("default_arms.toml");

/// Options that are the comparison's, not an arm's: without the same images and seeds there is
/// nothing to compare.
const GIVEN: [&str; 2] = ["data", "seed"];

/// One way to fine-tune.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Name of its folder.
    pub folder: String,
    /// Its options. The seed is that of the first repetition.
    pub config: TrainConfig,
}

/// Arms that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArmsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{origin} is not TOML: {source}")]
    Parse {
        /// The file.
        origin: String,
        /// The problem.
        source: Box<toml::de::Error>,
    },
    /// It says something else than arms.
    #[error("{origin}: {problem}")]
    Form {
        /// The file.
        origin: String,
        /// The problem, and the form that is expected.
        problem: String,
    },
    /// An arm's options are not possible.
    #[error("{origin}, arm \"{arm}\": {source}")]
    Config {
        /// The file.
        origin: String,
        /// The arm.
        arm: String,
        /// The problem.
        source: ConfigError,
    },
}

/// The options that a comparison gives to every arm.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// Options that win over the file's, by their names in `config.toml`.
    pub options: Table,
    /// Options that every arm has unless it says otherwise.
    pub defaults: Table,
}

/// Reads a file of arms (see [`parse`]).
///
/// # Errors
/// [`ArmsError`].
pub fn read(path: &Path, data: &Path, common: &Common) -> Result<Vec<Arm>, ArmsError> {
    let text = read_text(path, MAX_OPTIONS_BYTES)
        .map_err(|source| ArmsError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string(), data, common)
}

/// The arms of a text: `[[arm]]` tables, each with a `name` and any options of `config.toml`, and a
/// table `[common]` with options of all arms. `recipe` gives the defaults. `origin` names the text
/// in errors.
///
/// # Errors
/// [`ArmsError`].
pub fn parse(
    text: &str,
    origin: &str,
    data: &Path,
    common: &Common,
) -> Result<Vec<Arm>, ArmsError> {
    let form = |problem: String| ArmsError::Form { origin: origin.to_owned(), problem };
    let mut file: Table = toml::from_str(text).map_err(|source| ArmsError::Parse {
        origin: origin.to_owned(),
        source: Box::new(source),
    })?;
    let shared = match file.remove("common") {
        None => Table::new(),
        Some(Value::Table(table)) => as_in_a_configuration(table),
        Some(_) => return Err(form("common must be a table: [common]".into())),
    };
    let listed =
        match file.remove("arm") {
            Some(Value::Array(listed)) if !listed.is_empty() => listed,
            _ => return Err(form(
                "it lists no arms: give each one as a table [[arm]] with a name and its options"
                    .into(),
            )),
        };
    if let Some(unknown) = file.keys().next() {
        return Err(form(format!(
            "there is no table {unknown}; the tables are [common] and [[arm]]"
        )));
    }
    let mut arms: Vec<Arm> = Vec::new();
    for (place, options) in listed.into_iter().enumerate() {
        let Value::Table(options) = options else {
            return Err(form("arm must be a list of tables: [[arm]]".into()));
        };
        let mut options = as_in_a_configuration(options);
        let name = match options.remove("name") {
            Some(Value::String(name)) if !name.trim().is_empty() => name,
            _ => {
                return Err(form(format!(
                    "arm {} has no name: give it one, such as name = \"frozen backbone\"",
                    place + 1
                )));
            }
        };
        if let Some(given) = GIVEN
            .into_iter()
            .find(|given| options.contains_key(*given) || shared.contains_key(*given))
        {
            return Err(form(format!(
                "an arm has no {given} of its own: the comparison gives all arms the same"
            )));
        }
        let layers = [&common.defaults, &shared, &options, &common.options];
        let own = options.keys().map(String::as_str);
        let config = TrainConfig::overlay(data, &layers).and_then(|config| {
            config.check()?;
            // Options that all arms share may mean nothing to some.
            config.check_given(own)?;
            Ok(config)
        });
        let config = config.map_err(|source| ArmsError::Config {
            origin: origin.to_owned(),
            arm: name.clone(),
            source,
        })?;
        let folder = folder_name(&name);
        if let Some(other) = arms.iter().find(|arm| arm.folder == folder) {
            return Err(form(format!(
                "arms \"{}\" and \"{name}\" would share the folder {folder}: rename one",
                other.name
            )));
        }
        arms.push(Arm { name, folder, config });
    }
    Ok(arms)
}

/// Names with underscores, as in `config.toml`; the command line's hyphens are taken too.
fn as_in_a_configuration(options: Table) -> Table {
    options.into_iter().map(|(name, value)| (name.replace('-', "_"), value)).collect()
}

/// A name that any file system takes: lower case, with a hyphen for whatever is no letter or
/// number.
fn folder_name(name: &str) -> String {
    let words: Vec<String> = name
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    if words.is_empty() { "arm".into() } else { words.join("-") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;
    use crate::config::{Freeze, HeadStart, Weights};

    fn arms(text: &str) -> Result<Vec<Arm>, String> {
        parse(text, "arms.toml", Path::new("photos"), &Common::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_arms_are_the_textbooks_and_ours() {
        let arms = arms(DEFAULT_ARMS).expect("they are possible");
        let find = |name: &str| &arms.iter().find(|arm| arm.name == name).expect("an arm").config;
        let textbook = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        assert_eq!(*find("fine-tune, rate 5e-5"), textbook);
        assert_eq!(
            *find("fine-tune, rate 4e-5"),
            TrainConfig { lr: Some(4e-5), ..textbook.clone() }
        );
        let scratch = find("from scratch");
        assert_eq!(
            (&scratch.weights, scratch.lr, scratch.head_lr_mult),
            (&Some(Weights::None), Some(5e-4), Some(1.0))
        );
        let frozen = find("frozen backbone");
        assert_eq!(
            (
                &frozen.freeze,
                frozen.epoch_count(),
                frozen.learning_rate() * frozen.head_rate_multiplier()
            ),
            (&Some(Freeze::Backbone), 10, 5e-5)
        );
        assert_eq!(find("new head, frozen backbone").head, Some(HeadStart::New));
        let default = TrainConfig::recipe(Recipe::Default, Path::new("photos"));
        assert_eq!(*find("fitted head"), TrainConfig { freeze: Some(Freeze::Backbone), ..default });
    }

    #[test]
    fn an_arm_wins_over_common_options_and_flags_over_both() {
        let text = "[common]\nepochs = 3\nhead-lr-mult = 2.0\n[[arm]]\nname = \"A/b  c\"\nepochs \
            = 4\n[[arm]]\nname = \"d\"\nrecipe = \"d2l\"";
        let parsed = arms(text).expect("possible");
        assert_eq!(
            parsed.iter().map(|arm| arm.folder.as_str()).collect::<Vec<_>>(),
            ["a-b-c", "d"]
        );
        assert_eq!(parsed.iter().map(|arm| arm.config.epoch_count()).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(
            (parsed[0].config.head_lr_mult, parsed[1].config.recipe),
            (Some(2.0), Recipe::D2l)
        );
        let flags =
            Common { options: toml::from_str("epochs = 7").expect("TOML"), ..Common::default() };
        let parsed = parse(text, "arms.toml", Path::new("photos"), &flags).expect("possible");
        assert_eq!(parsed.iter().map(|arm| arm.config.epoch_count()).collect::<Vec<_>>(), [7, 7]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| arms(text).expect_err("wrong");
        assert!(
            error("[[arm]]\nname = \"a\"\nepoch = 3").starts_with("arms.toml, arm \"a\": "),
            "{}",
            error("[[arm]]\nname = \"a\"\nepoch = 3")
        );
        assert!(error("[[arm]]\nname = \"a\"\nepoch = 3").contains("epoch"));
        assert!(
            error("[[arm]]\nname = \"a\"\nlr = -1.0")
                .contains("lr is -1; it has to be a number above 0")
        );
        assert!(error("[[arm]]\nepochs = 3").contains("arm 1 has no name"));
        assert!(
            error("[[arm]]\nname = \"a b\"\n[[arm]]\nname = \"A-B\"")
                .contains("would share the folder a-b")
        );
        assert!(error("[[arm]]\nname = \"a\"\nseed = 3").contains("an arm has no seed of its own"));
        assert!(error("").contains("lists no arms"));
        assert!(error("[[arms]]\nname = \"a\"").contains("lists no arms"));
        assert!(error("x = 1\n[[arm]]\nname = \"a\"").contains("no table x"));
        assert!(error("= 1").starts_with("arms.toml is not TOML: "));
    }
}
