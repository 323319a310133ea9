//! Draws the operations for an image: TrivialAugment (Müller and Hutter 2021) and RandAugment
//! (Cubuk et al. 2020), in torchvision's form and with its defaults.

use super::operations::Operation;
use regraft_base::random::Draws;

/// Number of operations to draw from.
pub const OPERATIONS: u32 = 14;
/// Number of strengths of each operation.
pub const STRENGTHS: u32 = 31;
/// Number of operations of RandAugment, applied one after the other.
pub const RAND_AUGMENT_OPERATIONS: u32 = 2;
/// The strength of RandAugment.
pub const RAND_AUGMENT_STRENGTH: u32 = 9;

/// The range of the operations' strengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The largest shear, as a slope.
    pub shear: f32,
    /// The largest shift, in pixels.
    pub translate: f32,
    /// The largest rotation, in degrees.
    pub rotate: f32,
    /// The largest distance of brightness, colour, contrast and sharpness from 1.
    pub enhance: f32,
    /// The most bits that are removed.
    pub posterize: f32,
}

impl Range {
    /// The range of TrivialAugment, which torchvision calls `TrivialAugmentWide`.
    pub const TRIVIAL: Self =
        Self { shear: 0.99, translate: 32.0, rotate: 135.0, enhance: 0.99, posterize: 6.0 };

    /// The range of RandAugment for square images with this many pixels a side.
    #[must_use]
    pub fn rand(side: u32) -> Self {
        let translate = (150.0 / 331.0 * f64::from(side)) as f32;
        Self { shear: 0.3, translate, rotate: 30.0, enhance: 0.9, posterize: 4.0 }
    }

    /// The operation with a number below [`OPERATIONS`] and a strength below [`STRENGTHS`]. If it
    /// has a direction, `negative` reverses it.
    #[must_use]
    pub fn operation(&self, number: u32, strength: u32, negative: bool) -> Operation {
        let signed = |largest: f32| {
            let magnitude = f64::from(spaced(0.0, largest, strength));
            if negative { -magnitude } else { magnitude }
        };
        match number {
            1 => Operation::ShearX(signed(self.shear)),
            2 => Operation::ShearY(signed(self.shear)),
            3 => Operation::TranslateX(signed(self.translate) as i32),
            4 => Operation::TranslateY(signed(self.translate) as i32),
            5 => Operation::Rotate(signed(self.rotate)),
            6 => Operation::Brightness(1.0 + signed(self.enhance)),
            7 => Operation::Color(1.0 + signed(self.enhance)),
            8 => Operation::Contrast(1.0 + signed(self.enhance)),
            9 => Operation::Sharpness(1.0 + signed(self.enhance)),
            10 => {
                let taken =
                    (strength as f32 / ((STRENGTHS - 1) as f32 / self.posterize)).round_ties_even();
                Operation::Posterize(8 - taken as u32)
            }
            11 => Operation::Solarize(f64::from(spaced(255.0, 0.0, strength))),
            12 => Operation::AutoContrast,
            13 => Operation::Equalize,
            _ => Operation::Identity,
        }
    }

    /// Draws an operation; only operations with a direction draw the direction.
    fn draw(&self, strength: impl Fn(&mut Draws) -> u32, draws: &mut Draws) -> Operation {
        let number = draws.below(OPERATIONS);
        let strength = if (1..=11).contains(&number) { strength(draws) } else { 0 };
        let negative = (1..=9).contains(&number) && draws.below(2) == 1;
        self.operation(number, strength, negative)
    }
}

/// TrivialAugment: one operation, any strength.
#[must_use]
pub fn trivial_augment(draws: &mut Draws) -> Operation {
    Range::TRIVIAL.draw(|draws| draws.below(STRENGTHS), draws)
}

/// RandAugment for square images with this many pixels a side: two operations of one strength.
#[must_use]
pub fn rand_augment(side: u32, draws: &mut Draws) -> [Operation; RAND_AUGMENT_OPERATIONS as usize] {
    std::array::from_fn(|_| Range::rand(side).draw(|_| RAND_AUGMENT_STRENGTH, draws))
}

/// One of [`STRENGTHS`] evenly spaced numbers, as in `torch.linspace`.
fn spaced(first: f32, last: f32, place: u32) -> f32 {
    let step = (last - first) / (STRENGTHS - 1) as f32;
    if place < STRENGTHS / 2 {
        first + step * place as f32
    } else {
        last - step * (STRENGTHS - 1 - place) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::Purpose;
    use std::collections::HashMap;
    use std::mem::{Discriminant, discriminant};

    fn counts(draw: impl Fn(&mut Draws) -> Operation) -> HashMap<Discriminant<Operation>, usize> {
        let mut counts = HashMap::new();
        for sample in 0..14_000 {
            *counts
                .entry(discriminant(&draw(&mut Draws::new(5, Purpose::Augment, 0, sample))))
                .or_default() += 1;
        }
        counts
    }

    #[test]
    fn each_operation_is_drawn_as_often_in_either_direction_and_all_strengths() {
        for counts in [counts(trivial_augment), counts(|draws| rand_augment(224, draws)[1])] {
            assert_eq!(counts.len(), OPERATIONS as usize);
            assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
        }
        let mut turns: Vec<f64> = (0..14_000)
            .filter_map(|sample| {
                match trivial_augment(&mut Draws::new(5, Purpose::Augment, 0, sample)) {
                    Operation::Rotate(degrees) => Some(degrees),
                    _ => None,
                }
            })
            .collect();
        turns.sort_by(f64::total_cmp);
        turns.dedup();
        assert_eq!((turns.first(), turns.last(), turns.len()), (Some(&-135.0), Some(&135.0), 61));
    }
}
