//! Images far from all others in the space of a network's features.

use crate::algebra::linear;
use rayon::prelude::*;

/// The neighbour whose distance counts: one or two copies make no company.
const NEIGHBOUR: usize = 5;
/// Examples that are compared at a time.
const BLOCK: usize = 64;
/// The most examples that each is compared with, evenly spaced.
const MOST_REFERENCES: usize = 10_000;

/// The examples whose fifth-nearest neighbour is far, with its cosine distance, the farthest first.
/// Far is beyond the third quartile by three times the distance of the quartiles (Tukey's outer
/// fence). `features` is `[N, channels]`.
pub fn outliers(features: &[f32], channels: usize) -> Vec<(usize, f64)> {
    let count = features.len() / channels;
    if count <= NEIGHBOUR * 2 {
        return Vec::new();
    }
    let mut unit = features.to_vec();
    for row in unit.chunks_exact_mut(channels) {
        let length =
            row.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|value| *value /= length);
    }
    let step = count.div_ceil(MOST_REFERENCES);
    let references: Vec<f32> =
        unit.chunks_exact(channels).step_by(step).flatten().copied().collect();
    let reference_count = references.len() / channels;
    let bias = vec![0.0; reference_count];
    let of_block = |(block, rows): (usize, &[f32])| {
        let mut similar = vec![0.0; rows.len() / channels * reference_count];
        linear::forward(rows, &references, &bias, channels, &mut similar);
        let blocks = similar.chunks_exact_mut(reference_count).enumerate();
        blocks
            .map(|(row, similar)| {
                let own = block * BLOCK + row;
                if own.is_multiple_of(step) {
                    similar[own / step] = f32::MIN;
                }
                let (_, nearest, _) = similar
                    .select_nth_unstable_by(NEIGHBOUR - 1, |left, right| right.total_cmp(left));
                1.0 - f64::from(*nearest)
            })
            .collect::<Vec<_>>()
    };
    let distances: Vec<f64> =
        unit.par_chunks(BLOCK * channels).enumerate().flat_map(of_block).collect();
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    let (first, third) = (sorted[count / 4], sorted[count * 3 / 4]);
    let fence = third + 3.0 * (third - first);
    let mut found: Vec<(usize, f64)> =
        distances.into_iter().enumerate().filter(|&(_, distance)| distance > fence).collect();
    found.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_points_elsewhere_is_found() {
        // Forty directions close to the first axis, one along the second.
        let mut features: Vec<f32> = (0..40u8)
            .flat_map(|place| [10.0, f32::from(place % 8) / 10.0, f32::from(place / 8) / 10.0])
            .collect();
        features.extend([0.1, 9.0, 0.0]);
        let found = outliers(&features, 3);
        assert!(
            found.first().is_some_and(|&(example, distance)| example == 40 && distance > 0.8),
            "{found:?}"
        );
        assert!(
            found[1..].iter().all(|&(_, distance)| distance < 0.01),
            "only corners of the bundle may follow: {found:?}"
        );
        assert!(outliers(&features[..15], 3).is_empty(), "too few to tell");
    }
}
