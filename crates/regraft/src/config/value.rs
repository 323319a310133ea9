//! The types of options: how each is read from a flag's text and shown.

use super::{
    Balance, BatchNormMode, CacheImages, Freeze, HeadStart, Interval, Keep, LossReduction,
    OnBadImage, OnNan, OptimizerName, PrecisionChoice, Recipe, Resize, Schedule, TrainConfig,
    Weights,
};
use crate::engines::DeviceChoice;
use regraft_data::augmentation::AugmentationKind;
use serde::Serialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// A type of option.
pub(super) trait OptionValue: Sized {
    /// The words that it takes, if it takes nothing else.
    const WORDS: &'static [&'static str] = &[];
    /// Whether it is a yes or a no, so that its flag takes no value.
    const IS_SWITCH: bool = false;
    /// Whether it names a file, which may be any sequence of bytes.
    const IS_PATH: bool = false;

    /// Reads it from text. An error gives the reason if the text is wrong.
    fn read(text: &OsStr) -> Result<Self, String>;

    /// It as text, as [`OptionValue::read`] takes it; `None` if it is not set.
    fn shown(&self) -> Option<String>;

    /// It as a number, if it is one, to be compared with a range.
    fn number(&self) -> Option<f64> {
        None
    }
}

fn unicode(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "it is not Unicode".to_owned())
}

impl<T: OptionValue> OptionValue for Option<T> {
    const WORDS: &'static [&'static str] = T::WORDS;
    const IS_PATH: bool = T::IS_PATH;

    fn read(text: &OsStr) -> Result<Self, String> {
        T::read(text).map(Some)
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(T::shown)
    }

    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
}

/// A number without superfluous digits: `5e-5`, `0.9`, `1`.
fn short(number: f32) -> String {
    if number.fract() == 0.0 && number.abs() < 1e6 {
        format!("{number}")
    } else {
        format!("{number:?}")
    }
}

/// A number that is kept in 32 bits. One that would become another number is refused, because
/// checks of ranges would name that other number.
fn read_f32(text: &str) -> Result<f32, String> {
    let given: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    let kept = given as f32;
    match kept {
        0.0 if given != 0.0 => Err("it is too close to 0 for a 32-bit number".into()),
        1.0 if given < 1.0 => Err("it is too close to 1 for a 32-bit number".into()),
        _ if given.is_finite() && kept.is_infinite() => {
            Err("it is too large for a 32-bit number".into())
        }
        // Parsing twice rounds once: by way of f64, a number halfway between two 32-bit ones may
        // become the other one.
        _ => text.parse().map_err(|_| "it is not a number".to_owned()),
    }
}

impl OptionValue for f32 {
    fn read(text: &OsStr) -> Result<Self, String> {
        read_f32(unicode(text)?)
    }

    fn shown(&self) -> Option<String> {
        Some(short(*self))
    }

    fn number(&self) -> Option<f64> {
        Some(f64::from(*self))
    }
}

impl OptionValue for f64 {
    fn read(text: &OsStr) -> Result<Self, String> {
        unicode(text)?.parse().map_err(|_| "it is not a number".to_owned())
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

/// Whole numbers.
macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl OptionValue for $type {
            fn read(text: &OsStr) -> Result<Self, String> {
                let number: i128 = unicode(text)?
                    .parse()
                    .map_err(|_| "it is not a whole number".to_owned())?;
                Self::try_from(number).map_err(|_| format!("it is not in 0..={}", Self::MAX))
            }

            fn shown(&self) -> Option<String> {
                Some(self.to_string())
            }

            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
        }
    )+};
}

whole_numbers!(u32, u64, usize);

impl OptionValue for NonZeroU32 {
    fn read(text: &OsStr) -> Result<Self, String> {
        let number: i128 =
            unicode(text)?.parse().map_err(|_| "it is not a whole number".to_owned())?;
        let number = u32::try_from(number).ok().and_then(Self::new);
        number.ok_or_else(|| format!("it is not in 1..={}", u32::MAX))
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn number(&self) -> Option<f64> {
        Some(f64::from(self.get()))
    }
}

impl OptionValue for bool {
    const IS_SWITCH: bool = true;

    fn read(text: &OsStr) -> Result<Self, String> {
        unicode(text)?.parse().map_err(|_| "it is neither true nor false".to_owned())
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl OptionValue for String {
    fn read(text: &OsStr) -> Result<Self, String> {
        unicode(text).map(str::to_owned)
    }

    fn shown(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl OptionValue for PathBuf {
    const IS_PATH: bool = true;

    fn read(text: &OsStr) -> Result<Self, String> {
        Ok(text.into())
    }

    fn shown(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl OptionValue for Weights {
    const IS_PATH: bool = true;

    fn read(text: &OsStr) -> Result<Self, String> {
        Self::named(PathBuf::from(text)).map_err(|error| error.to_string())
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl OptionValue for [f32; 2] {
    fn read(text: &OsStr) -> Result<Self, String> {
        let parts: Option<Vec<f32>> =
            unicode(text)?.split(',').map(|part| part.trim().parse().ok()).collect();
        let pair = parts.and_then(|parts| parts.try_into().ok());
        pair.ok_or_else(|| "write two numbers with a comma between, such as 0.08,1".into())
    }

    fn shown(&self) -> Option<String> {
        Some(self.map(short).join(","))
    }
}

/// Maps of classes are read from a file.
impl OptionValue for BTreeMap<String, Vec<String>> {
    const IS_PATH: bool = true;

    fn read(text: &OsStr) -> Result<Self, String> {
        TrainConfig::read_head_map(Path::new(text)).map_err(|error| error.to_string())
    }

    fn shown(&self) -> Option<String> {
        None
    }
}

/// The word that serde writes for a value.
fn word(value: &impl Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

/// Enumerations, by the words that configuration files have for them too.
macro_rules! words {
    ($($type:ty: $($word:literal)+;)+) => {$(
        impl OptionValue for $type {
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn read(text: &OsStr) -> Result<Self, String> {
                let text: StrDeserializer<'_, Error> = unicode(text)?.into_deserializer();
                Self::deserialize(text).map_err(|error| error.to_string())
            }

            fn shown(&self) -> Option<String> {
                word(self)
            }
        }
    )+};
}

words! {
    AugmentationKind: "none" "basic" "trivial" "rand";
    Balance: "none" "weights" "sampling";
    BatchNormMode: "batch" "running";
    HeadStart: "fit" "new" "pytorch" "reuse";
    Keep: "best" "last";
    LossReduction: "mean" "sum";
    OnBadImage: "stop" "skip";
    OnNan: "stop" "retry";
    OptimizerName: "sgd" "adamw";
    PrecisionChoice: "f32" "bf16" "f16" "auto";
    Recipe: "default" "d2l";
    Resize: "crop" "squash" "letterbox";
    Schedule: "constant" "cosine";
}

/// Types that read and write themselves as text.
macro_rules! texts {
    ($($type:ty),+) => {$(
        impl OptionValue for $type {
            fn read(text: &OsStr) -> Result<Self, String> {
                Self::try_from(unicode(text)?.to_owned()).map_err(|error| error.to_string())
            }

            fn shown(&self) -> Option<String> {
                Some(String::from(self.clone()))
            }
        }
    )+};
}

texts!(CacheImages, DeviceChoice, Freeze, Interval);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is_shown() {
        fn back<T: OptionValue>(text: &str) -> Option<String> {
            T::read(OsStr::new(text)).expect("possible").shown()
        }
        assert_eq!(back::<f32>("5e-5").as_deref(), Some("5e-5"));
        assert_eq!(back::<f32>("10").as_deref(), Some("10"));
        assert_eq!(back::<[f32; 2]>("0.35, 1").as_deref(), Some("0.35,1"));
        assert_eq!(back::<Option<Freeze>>("through=layer3").as_deref(), Some("through=layer3"));
        assert_eq!(back::<Interval>("90s").as_deref(), Some("1m30s"));
        assert_eq!(back::<Recipe>("d2l").as_deref(), Some("d2l"));
        for word in HeadStart::WORDS {
            assert_eq!(back::<HeadStart>(word).as_deref(), Some(*word));
        }
    }

    #[test]
    fn a_number_that_32_bits_cannot_tell_apart_is_refused() {
        let error = |text: &str| f32::read(OsStr::new(text)).expect_err("refused");
        assert_eq!(error("1e-60"), "it is too close to 0 for a 32-bit number");
        assert_eq!(error("0.99999999999"), "it is too close to 1 for a 32-bit number");
        assert_eq!(error("1e60"), "it is too large for a 32-bit number");
        assert_eq!(error("much"), "it is not a number");
        assert_eq!(
            NonZeroU32::read(OsStr::new("0")).expect_err("0"),
            "it is not in 1..=4294967295"
        );
    }
}
