//! Where the hub and its cache are, by the variables that `huggingface_hub` reads too.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A secret, which no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself.
    #[cfg(feature = "fetch")]
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// Where the hub and its cache are.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The cache; `None` if the system has no home folder.
    pub cache: Option<PathBuf>,
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The user's token.
    pub token: Option<Token>,
    /// Whether the network is not to be used.
    pub offline: bool,
    /// Whether symbolic links are tried.
    pub symlinks: bool,
    /// How often in a row nothing may come before a download is given up.
    pub attempts: u32,
    /// The pause before the first new attempt; each further one is twice as long.
    pub pause: Duration,
}

impl HubSettings {
    /// Those that the environment names: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `HF_HUB_DISABLE_SYMLINKS`,
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`, and older names of these.
    #[must_use]
    pub fn from_env() -> Self {
        Self::of(&|name| std::env::var_os(name), std::env::home_dir())
    }

    fn of(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| given(name).and_then(|value| value.into_string().ok());
        let is_true = |name: &str| {
            text(name).is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
            })
        };
        // A path may begin with `~`, as in Python.
        let path = |name: &str| {
            let path = PathBuf::from(given(name)?);
            match (path.strip_prefix("~"), &home) {
                (Ok(rest), Some(home)) => Some(home.join(rest)),
                _ => Some(path),
            }
        };
        let hub_home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME").or(Some(home.as_ref()?.join(".cache")))?;
            Some(caches.join("huggingface"))
        });
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hub_home.as_ref()?.join("hub")));
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home.as_ref()?.join("token")));
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| std::fs::read_to_string(token_file?).ok())
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty() && !is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = if given("HF_HUB_OFFLINE").is_some() {
            is_true("HF_HUB_OFFLINE")
        } else {
            is_true("TRANSFORMERS_OFFLINE")
        };
        Self {
            cache,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.map(Token),
            offline,
            symlinks: !is_true("HF_HUB_DISABLE_SYMLINKS"),
            attempts: 5,
            pause: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        HubSettings::of(&variable, Some("/home/me".into()))
    }

    #[test]
    fn variables_are_those_of_huggingface_hub() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache.expect("a cache");
        assert_eq!(cache(&[]), PathBuf::from("/home/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), PathBuf::from("/c/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), PathBuf::from("/home/me/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/x")]), PathBuf::from("/x"));
        let found = settings(&[
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "True"),
            ("HF_HUB_DISABLE_SYMLINKS", "1"),
        ]);
        assert_eq!(
            (&found.endpoint[..], found.offline, found.symlinks),
            ("http://mirror", true, false)
        );
        assert_eq!(found.token, Some(Token("secret".to_owned())));
        assert!(!format!("{found:?}").contains("secret"));
        let found = settings(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]);
        assert_eq!((found.offline, found.token), (false, None));
        let hidden = [("HF_TOKEN", "secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(settings(&hidden).token, None);
    }

    #[test]
    fn the_token_may_lie_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "of the file\n").expect("written");
        let home = folder.path().to_str().expect("text");
        assert_eq!(settings(&[("HF_HOME", home)]).token, Some(Token("of the file".to_owned())));
        assert_eq!(
            settings(&[("HF_HOME", home), ("HF_TOKEN", "first")]).token,
            Some(Token("first".to_owned()))
        );
    }
}
