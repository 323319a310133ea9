//! One file for each command.

mod answering;
pub mod audit;
pub mod bench;
pub mod compare;
pub mod completions;
pub mod doctor;
pub mod evaluate;
#[cfg(feature = "export")]
pub mod export;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod inspect;
pub mod lr_find;
pub mod models;
pub mod predict;
pub mod report;
pub mod runs;
pub mod show;
pub mod train;
pub mod weights;

use crate::failure::Failure;
use regraft::inference::InferenceError;

fn inference_failure(error: InferenceError) -> Failure {
    Failure::of(error)
}

/// A whole number with a comma between thousands: `4,652,008`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Multiply-adds in millions.
fn millions(multiply_adds: u64) -> String {
    format!("{:.1} M", multiply_adds as f64 / 1e6)
}

/// The first names of a list, and how many more there are. Between them stand semicolons: a name
/// may have commas.
fn shortened(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 20;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.take(SHOWN).collect::<Vec<_>>().join("; ");
    if more > 0 { format!("{shown}; and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_lists_cut() {
        assert_eq!([0, 999, 1000, 4_652_008].map(thousands), ["0", "999", "1,000", "4,652,008"]);
        assert_eq!(shortened(["a", "b"].map(str::to_owned).into_iter()), "a; b");
        assert!(
            shortened(
                (0..25).map(|number: i32| number.to_string()).collect::<Vec<_>>().into_iter()
            )
            .ends_with("19; and 5 more")
        );
    }
}
