//! The axes of a plot: a range of round numbers, with labels.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// From this value on labels are written with an exponent.
const LARGE: f64 = 1e5;

/// The range of an axis, with the places of its labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The values that are labelled, ascending.
    pub ticks: Vec<f64>,
    /// Decimals of a label.
    decimals: usize,
    /// The text before a label's number.
    prefix: &'static str,
}

impl Axis {
    /// Whole epochs only, the first always among them.
    pub fn of_epochs(first: u32, last: u32) -> Self {
        let (first, last) = (f64::from(first), f64::from(last));
        let step = round_step(((last - first) / 8.0).max(1.0));
        let mut ticks = vec![first];
        // The second label keeps at least half a step from the first.
        let mut tick = ((first + step * 0.5) / step).ceil() * step;
        while tick <= last {
            ticks.push(tick);
            tick += step;
        }
        let room = if first == last { 0.5 } else { ((last - first) * 0.02).max(0.1) };
        Self { low: first - room, high: last + room, ticks, decimals: 0, prefix: "" }
    }

    /// A logarithmic axis: values are powers of ten by their exponent, whole exponents are
    /// labelled.
    pub fn of_exponents(low: f64, high: f64) -> Self {
        let room = 0.02 * (high - low).max(0.1);
        let ticks =
            ((low - 1e-9).ceil() as i32..=(high + 1e-9).floor() as i32).map(f64::from).collect();
        Self { low: low - room, high: high + room, ticks, decimals: 0, prefix: "1e" }
    }

    /// A range of round numbers around these values, which are finite. It begins at 0 where they
    /// come near it, ends at `most` at the latest, and is at least `least_span` of the largest
    /// value wide, so that noise does not look like progress.
    pub fn of_values(values: impl Iterator<Item = f64>, least_span: f64, most: f64) -> Self {
        let (mut low, mut high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let missing = (high.abs().max(1e-6) * least_span - (high - low)).max(0.0);
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        low = (low - missing / 2.0).max(floor);
        high = (high + missing / 2.0).min(most.max(high));
        if low < 0.4 * high {
            low = low.min(0.0);
        }
        let step = round_step((high - low) / 5.0);
        // In whole steps; the small allowance keeps rounding from adding one.
        let bottom = (low / step + 1e-9).floor();
        let top = (high / step - 1e-9).ceil();
        let ticks = (0..=(top - bottom) as usize).map(|index| (bottom + index as f64) * step);
        let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
        // A little room keeps points at either end from being cut; the zero line is the end itself.
        let room = 0.02 * (top - bottom) * step;
        Self {
            low: bottom * step - if bottom == 0.0 { 0.0 } else { room },
            high: (top * step).min(most.max(high)) + room,
            ticks: ticks.filter(|&tick| tick <= most.max(high) + 1e-9 * step).collect(),
            decimals,
            prefix: "",
        }
    }

    /// A tick's label.
    pub fn label(&self, tick: f64) -> String {
        if tick.abs() < LARGE {
            return format!("{}{tick:.*}", self.prefix, self.decimals);
        }
        // At most three digits, without zeros at their end.
        let rounded: f64 = format!("{tick:.2e}").parse().unwrap_or(tick);
        format!("{rounded:e}")
    }
}

/// The library's own axes choose their labels themselves; these show the ticks, and no others.
impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light lines are asked for between the labelled ones: there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// The smallest of 1, 2, 5, 10, 20, 50 and so on (and of their tenths, hundredths) that is not
/// below `least`, which is above 0.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    fn of_values(values: &[f64], most: f64) -> Axis {
        let axis = Axis::of_values(values.iter().copied(), 0.1, most);
        assert!(
            values.iter().all(|&value| axis.low <= value && value <= axis.high),
            "{values:?}: {axis:?}"
        );
        assert!(axis.ticks.len() >= 2 && axis.low <= axis.ticks[0], "{values:?}: {axis:?}");
        axis
    }

    #[test]
    fn epochs_are_labelled_by_whole_numbers() {
        assert_eq!(labels(&Axis::of_epochs(1, 1)), ["1"]);
        assert_eq!(labels(&Axis::of_epochs(1, 3)), ["1", "2", "3"]);
        assert_eq!(labels(&Axis::of_epochs(1, 10)), ["1", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::of_epochs(1, 200)), ["1", "50", "100", "150", "200"]);
        assert_eq!(labels(&Axis::of_epochs(7, 9)), ["7", "8", "9"]);
        assert_eq!(Axis::of_epochs(1, 1).range(), 0.5..1.5);
    }

    #[test]
    fn values_are_labelled_by_round_numbers() {
        assert_eq!(
            labels(&of_values(&[0.02, 0.47], f64::INFINITY)),
            ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
        );
        assert_eq!(labels(&of_values(&[0.81, 0.93], 1.0)), ["0.80", "0.85", "0.90", "0.95"]);
        assert_eq!(
            labels(&of_values(&[2.0, 3.0], f64::INFINITY)),
            ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]
        );
        assert_eq!(
            labels(&of_values(&[0.0, 1e30], f64::INFINITY)),
            ["0", "2e29", "4e29", "6e29", "8e29", "1e30"]
        );
    }

    #[test]
    fn an_accuracy_never_goes_beyond_one() {
        for values in [&[1.0, 1.0][..], &[0.99, 1.0], &[0.3, 1.0]] {
            let axis = of_values(values, 1.0);
            assert_eq!(
                axis.ticks.last().copied().map(|tick| axis.label(tick).parse()),
                Some(Ok(1.0)),
                "{axis:?}"
            );
            assert!(axis.high < 1.03, "{axis:?}");
        }
    }

    #[test]
    fn equal_values_and_none_have_a_range_too() {
        for values in [&[0.5, 0.5][..], &[0.0], &[1e30], &[1e-30], &[-2.0], &[]] {
            let axis = of_values(values, f64::INFINITY);
            assert!(axis.high - axis.low > 1e-9, "{values:?}: {axis:?}");
        }
        assert_eq!(labels(&of_values(&[], 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn steps_are_one_two_or_five() {
        let cases = [
            (1.0, 1.0),
            (1.1, 2.0),
            (3.0, 5.0),
            (6.0, 10.0),
            (0.03, 0.05),
            (1e-9, 1e-9),
            (0.3 - 0.1, 0.2),
        ];
        for (least, step) in cases {
            assert!(
                (round_step(least) / step - 1.0).abs() < 1e-9,
                "{least}: {}",
                round_step(least)
            );
        }
    }
}
