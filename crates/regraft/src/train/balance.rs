//! Classes of different sizes: weights of images, and the order in which an epoch takes them.

use regraft_base::random::{Draws, Purpose};
use regraft_data::catalogue::Sample;

/// Each class's weight with [`Balance::Weights`](crate::config::Balance::Weights), scikit-learn's
/// `balanced`: 1 for all classes if they have the same size.
pub(super) fn class_weights(samples: &[Sample], classes: usize) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    samples.iter().for_each(|sample| counts[sample.label as usize] += 1);
    counts
        .iter()
        .map(|&count| (samples.len() as f64 / (classes * count.max(1)) as f64) as f32)
        .collect()
}

/// Each image's weight: that of its class, or the mean over its targets.
pub(super) fn image_weights(
    class_weights: &[f32],
    labels: &[u32],
    targets: Option<&[f32]>,
) -> Vec<f32> {
    match targets {
        None => labels.iter().map(|&label| class_weights[label as usize]).collect(),
        Some(targets) => {
            let rows = targets.chunks_exact(class_weights.len());
            rows.map(|row| {
                row.iter().zip(class_weights).map(|(target, weight)| target * weight).sum()
            })
            .collect()
        }
    }
}

/// An epoch's images with [`Balance::Sampling`](crate::config::Balance::Sampling): as many as there
/// are, with the same number of each class (up to one). A class's images come in turn until all
/// have come, and then again. Each epoch begins with different ones.
pub(super) fn balanced_order(
    samples: &[Sample],
    classes: usize,
    seed: u64,
    epoch: u32,
) -> Vec<u32> {
    let mut order = Vec::with_capacity(samples.len());
    for class in 0..classes {
        let mut members: Vec<u32> = (0..samples.len() as u32)
            .filter(|&place| samples[place as usize].label as usize == class)
            .collect();
        Draws::new(seed, Purpose::Shuffle, epoch, 1 + class as u32).shuffle(&mut members);
        let share = samples.len() / classes + usize::from(class < samples.len() % classes);
        order.extend(members.iter().cycle().take(if members.is_empty() { 0 } else { share }));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine images of the first class, two of the second and one of the third.
    fn unbalanced() -> Vec<Sample> {
        let label = |place: u32| if place < 9 { 0 } else { 1 + u32::from(place == 11) };
        (0..12)
            .map(|place| Sample { path: place.to_string().into(), label: label(place) })
            .collect()
    }

    #[test]
    fn weights_make_up_for_sizes() {
        assert_eq!(class_weights(&unbalanced(), 3), [12.0 / 27.0, 2.0, 4.0]);
        assert_eq!(image_weights(&[0.5, 2.0], &[1, 0], None), [2.0, 0.5]);
        assert_eq!(
            image_weights(&[0.5, 2.0], &[1, 0], Some(&[0.25, 0.75, 1.0, 0.0])),
            [1.625, 0.5]
        );
    }

    #[test]
    fn sampling_takes_as_many_of_each_class_and_others_in_other_epochs() {
        let samples = unbalanced();
        let order = balanced_order(&samples, 3, 1, 0);
        let of = |order: &[u32], class: u32| -> Vec<u32> {
            order.iter().copied().filter(|&place| samples[place as usize].label == class).collect()
        };
        assert_eq!([0, 1, 2].map(|class| of(&order, class).len()), [4, 4, 4]);
        assert_eq!(of(&order, 2), [11; 4]);
        let rare = of(&order, 1);
        assert_eq!(
            [9, 10].map(|place| rare.iter().filter(|&&found| found == place).count()),
            [2, 2]
        );
        let seen: std::collections::BTreeSet<u32> =
            (0..12).flat_map(|epoch| of(&balanced_order(&samples, 3, 1, epoch), 0)).collect();
        assert_eq!(seen.len(), 9, "all come in time");
    }
}
