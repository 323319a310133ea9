//! Lengths of time.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A length of time: `5m`, `90s`, `1h30m`, `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(pub Duration);

/// Units of an interval with their milliseconds, the largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl TryFrom<String> for Interval {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        let milliseconds = || {
            let (mut rest, mut sum) = (text.as_str(), 0_u64);
            while !rest.is_empty() {
                let digits = rest.len()
                    - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
                let number: u64 = rest[..digits].parse().ok()?;
                let letters = rest[digits..]
                    .find(|letter: char| letter.is_ascii_digit())
                    .unwrap_or(rest.len() - digits);
                let (_, factor) =
                    UNITS.into_iter().find(|(unit, _)| *unit == &rest[digits..digits + letters])?;
                sum = number.checked_mul(factor).and_then(|product| sum.checked_add(product))?;
                rest = &rest[digits + letters..];
            }
            (!text.is_empty()).then_some(sum)
        };
        match milliseconds() {
            Some(milliseconds) => Ok(Self(Duration::from_millis(milliseconds))),
            None => Err(ConfigError::Interval { text }),
        }
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        let mut rest = u64::try_from(interval.0.as_millis()).unwrap_or(u64::MAX);
        let mut text = String::new();
        for (unit, factor) in UNITS {
            if rest >= factor {
                text.push_str(&format!("{}{unit}", rest / factor));
                rest %= factor;
            }
        }
        if text.is_empty() { "0s".into() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_and_written() {
        for (text, milliseconds) in [
            ("5m", 300_000),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
            ("2h3ms", 7_200_003),
        ] {
            let interval = Interval::try_from(text.to_owned()).expect("a time");
            assert_eq!(interval.0, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(Interval::try_from(String::from(interval)).expect("a time"), interval);
        }
        assert_eq!(String::from(Interval(Duration::from_secs(90))), "1m30s");
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "5x",
            "-5m",
            "5m5",
            "1.5h",
            "99999999999999999999h",
            "9999999999999999h",
            "5\u{b5}s",
            "５m",
        ] {
            let error = Interval::try_from(text.to_owned()).expect_err("no time").to_string();
            assert_eq!(
                error,
                format!(
                    "\"{text}\" is not a length of time; write one such as 5m, 90s, 1h30m or 500ms"
                )
            );
        }
    }
}
