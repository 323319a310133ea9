//! Whether one arm is really better than another: a paired permutation test over the images that
//! both were scored on.

use serde::{Deserialize, Serialize};

/// Below this adjusted probability a difference counts as more than chance.
pub const SIGNIFICANCE: f64 = 0.05;
/// The exact distribution takes time that grows with the images on which the arms differ and with
/// how far their sum can reach; from this product on the normal approximation, which is then
/// accurate to many digits, takes its place.
const MOST_EXACT_WORK: u64 = 400_000_000;

/// The difference of two arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// The arm with the higher accuracy, or the one that comes first among equals.
    pub better: String,
    /// The other arm.
    pub worse: String,
    /// Accuracy of the better arm less that of the other, both means over the seeds.
    pub difference: f64,
    /// The probability of a difference at least as large, in either direction, where the arms are
    /// equally good.
    pub p_value: f64,
    /// `p_value` adjusted for the number of pairs that were compared (S. Holm, "A simple
    /// sequentially rejective multiple test procedure", 1979).
    pub p_value_adjusted: f64,
    /// Whether the better arm has the higher accuracy with every seed.
    pub same_sign_in_every_seed: bool,
    /// Whether the difference is taken to be more than chance: `p_value_adjusted` below 0.05, and
    /// the same sign with every seed.
    pub real: bool,
}

/// The images that one arm got right.
#[derive(Clone, Debug)]
pub struct RightAnswers {
    /// The arm's name.
    pub name: String,
    /// For each seed, in the same order in all arms: which images were right, in the same order
    /// everywhere.
    pub right: Vec<Vec<bool>>,
}

impl RightAnswers {
    fn accuracy(&self, seed: usize) -> f64 {
        let right = &self.right[seed];
        right.iter().filter(|&&right| right).count() as f64 / right.len() as f64
    }

    fn mean_accuracy(&self) -> f64 {
        (0..self.right.len()).map(|seed| self.accuracy(seed)).sum::<f64>() / self.right.len() as f64
    }

    /// With how many seeds each image was right.
    fn counts(&self) -> Vec<i64> {
        let pictures = self.right.first().map_or(0, Vec::len);
        (0..pictures)
            .map(|picture| self.right.iter().map(|seed| i64::from(seed[picture])).sum())
            .collect()
    }
}

/// Compares every pair of arms. All have the same seeds and the same images.
///
/// The test is a permutation test of matched pairs (R. A. Fisher, "The Design of Experiments",
/// 1935, §21): were two arms equally good, then for each image the number of seeds that got it
/// right could as well have been the other arm's, so the sign of each difference is as good as a
/// coin's. The probability is exact; with one seed it is McNemar's exact test. The images are the
/// sample, so it tells whether a difference would hold on other images of the kind. That it would
/// hold for other seeds, the images cannot tell: therefore a difference is called real only if
/// every seed agrees.
#[must_use]
pub fn compare_all(arms: &[RightAnswers]) -> Vec<PairedTest> {
    let mut tests = Vec::new();
    for (place, first) in arms.iter().enumerate() {
        for second in &arms[place + 1..] {
            let swap = second.mean_accuracy() > first.mean_accuracy();
            let (better, worse) = if swap { (second, first) } else { (first, second) };
            let differences: Vec<i64> =
                better.counts().iter().zip(worse.counts()).map(|(a, b)| a - b).collect();
            tests.push(PairedTest {
                better: better.name.clone(),
                worse: worse.name.clone(),
                difference: better.mean_accuracy() - worse.mean_accuracy(),
                p_value: sign_flip_probability(&differences),
                p_value_adjusted: 1.0,
                same_sign_in_every_seed: (0..better.right.len())
                    .all(|seed| better.accuracy(seed) > worse.accuracy(seed)),
                real: false,
            });
        }
    }
    let adjusted = holm(&tests.iter().map(|test| test.p_value).collect::<Vec<_>>());
    for (test, adjusted) in tests.iter_mut().zip(adjusted) {
        test.p_value_adjusted = adjusted;
        test.real = adjusted < SIGNIFICANCE && test.same_sign_in_every_seed;
    }
    tests
}

/// The probability that a sum of these numbers with random signs is at least as far from 0 as their
/// own sum.
fn sign_flip_probability(differences: &[i64]) -> f64 {
    let magnitudes: Vec<usize> = differences
        .iter()
        .filter(|&&value| value != 0)
        .map(|value| value.unsigned_abs() as usize)
        .collect();
    let observed = differences.iter().sum::<i64>().unsigned_abs() as usize;
    let reach: usize = magnitudes.iter().sum();
    if observed == 0 {
        return 1.0;
    }
    if (reach as u64).saturating_mul(magnitudes.len() as u64) > MOST_EXACT_WORK {
        let deviation = magnitudes.iter().map(|&value| (value * value) as f64).sum::<f64>().sqrt();
        // Sums of random signs are two apart, or more: half of that is the continuity correction.
        return complementary_error_function(
            (observed as f64 - 1.0) / deviation / std::f64::consts::SQRT_2,
        )
        .min(1.0);
    }
    // probabilities[k]: that the sum of the numbers whose sign is drawn as plus is k. The whole sum
    // is then 2 k - reach.
    let mut probabilities = vec![0.0; reach + 1];
    probabilities[0] = 1.0;
    let mut most = 0;
    for &magnitude in &magnitudes {
        most += magnitude;
        for sum in (0..=most).rev() {
            let with_plus = if sum >= magnitude { probabilities[sum - magnitude] } else { 0.0 };
            probabilities[sum] = 0.5 * (probabilities[sum] + with_plus);
        }
    }
    // By symmetry the lower tail is as heavy as the upper one.
    let tail: f64 = probabilities[(reach + observed) / 2..].iter().sum();
    (2.0 * tail).min(1.0)
}

/// Complementary error function, to 1.2e-7 of its value (W. H. Press et al., "Numerical Recipes",
/// 2nd ed., 6.2: Chebyshev fit), for `x >= 0`.
fn complementary_error_function(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        -1.26551223,
        1.00002368,
        0.37409196,
        0.09678418,
        -0.18628806,
        0.27886807,
        -1.13520398,
        1.48851587,
        -0.82215223,
        0.17087277,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| sum * t + coefficient);
    t * (polynomial - x * x).exp()
}

/// Holm's step-down adjustment.
fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &place) in order.iter().enumerate() {
        largest = largest.max(p_values[place] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[place] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found / expected - 1.0).abs() < relative, "{found} is not {expected}");
    }

    /// By going through every choice of signs.
    fn enumerated(differences: &[i64]) -> f64 {
        let observed = differences.iter().sum::<i64>().abs();
        let sums = (0..1_u32 << differences.len()).map(|signs| {
            let signed = differences
                .iter()
                .enumerate()
                .map(|(place, value)| if signs >> place & 1 == 1 { *value } else { -value });
            signed.sum::<i64>()
        });
        let all = sums.clone().count();
        sums.filter(|sum| sum.abs() >= observed).count() as f64 / all as f64
    }

    #[test]
    fn with_one_seed_it_is_mcnemars_exact_test() {
        // scipy.stats.binomtest(k, n).pvalue, scipy 1.17.
        for (wins, losses, expected) in [
            (8, 2, 0.109375),
            (15, 3, 0.007537841796875),
            (30, 10, 0.0022214337732293643),
            (5, 5, 1.0),
        ] {
            let differences: Vec<i64> = [vec![1; wins], vec![-1; losses], vec![0; 40]].concat();
            close(sign_flip_probability(&differences), expected, 1e-12);
        }
    }

    #[test]
    fn several_seeds_agree_with_every_choice_of_signs() {
        for differences in
            [&[3, -1, 2, 2, 0, 1, 1, -2, 3, 1][..], &[1, 1, 1, 3], &[-2, -2, 2, -3], &[2, -2], &[]]
        {
            close(sign_flip_probability(differences), enumerated(differences), 1e-12);
        }
    }

    #[test]
    fn the_approximation_for_very_many_pictures_joins_the_exact_values() {
        // Few enough to be exact.
        let exact = sign_flip_probability(&[vec![1; 10_250], vec![-1; 10_000]].concat());
        let deviation = 20_250_f64.sqrt();
        close(
            complementary_error_function(249.0 / deviation / std::f64::consts::SQRT_2),
            exact,
            2e-3,
        );
        // math.erfc of Python.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.4795001221869535),
            (2.0, 0.004677734981047266),
            (5.0, 1.537459794428035e-12),
        ] {
            close(complementary_error_function(x), expected, 2e-7);
        }
        let large = [vec![3; 60_000], vec![-3; 59_000]].concat();
        close(sign_flip_probability(&large), 0.00378, 0.02);
    }

    #[test]
    fn many_comparisons_need_stronger_evidence() {
        // statsmodels.stats.multitest.multipletests(p, method="holm").
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(found, expected, 1e-12);
        }
    }

    #[test]
    fn real_needs_evidence_and_every_seed() {
        let right = |wrong: std::ops::Range<usize>| {
            (0..200).map(|picture| !wrong.contains(&picture)).collect::<Vec<_>>()
        };
        let arm = |name: &str, right: &[Vec<bool>]| RightAnswers {
            name: name.into(),
            right: right.to_vec(),
        };
        let arms = [
            arm("weak", &[right(0..40), right(0..42)]),
            arm("strong", &[right(0..10), right(0..12)]),
            arm("mixed", &[right(0..2), right(0..30)]),
        ];
        let tests = compare_all(&arms);
        let find = |better: &str, worse: &str| {
            tests
                .iter()
                .find(|test| test.better == better && test.worse == worse)
                .expect("the pair")
        };
        assert_eq!(tests.len(), 3);
        assert!(
            find("strong", "weak").real && (find("strong", "weak").difference - 0.15).abs() < 1e-12
        );
        // One seed has it the other way round.
        assert!(!find("strong", "mixed").same_sign_in_every_seed && !find("strong", "mixed").real);
    }
}
