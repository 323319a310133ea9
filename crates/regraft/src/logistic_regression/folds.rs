//! The division of the examples into parts that are held out in turn.

use super::{Examples, RegressionError};
use regraft_base::random::{Draws, Purpose};
use std::ops::Range;

/// The examples in an order in which those of a fold are neighbours, the first view before the
/// others.
pub(super) struct Folds {
    /// Places of the examples.
    pub order: Vec<usize>,
    /// The folds, by places in `order`.
    pub folds: Vec<Fold>,
}

/// One fold. Ranges are of places in [`Folds::order`].
pub(super) struct Fold {
    /// The examples of all other folds.
    pub seen: [Range<usize>; 2],
    /// The fold's own examples, of the first view.
    pub held_out: Range<usize>,
}

impl Folds {
    /// Stratified folds: each has its share of every class. All views of an image are in one fold.
    ///
    /// # Errors
    /// If there are not as many examples of each view, or too few for that many folds.
    pub fn new(
        examples: &Examples<'_>,
        folds: usize,
        views: usize,
        seed: u64,
    ) -> Result<Self, RegressionError> {
        let all = examples.labels.len();
        if views == 0 || !all.is_multiple_of(views) {
            return Err(RegressionError::Views { views, examples: all });
        }
        let count = all / views;
        if folds < 2 || folds > count {
            return Err(RegressionError::Folds { folds, examples: count });
        }
        let assigned = stratified_folds(&examples.labels[..count], examples.classes, folds, seed);
        let fold_of = |example: usize| assigned[example % count];
        let mut order: Vec<usize> = (0..all).collect();
        // A stable sort: within a fold the first view, whose places are the smallest, stays first.
        order.sort_by_key(|&example| fold_of(example));
        let of_fold = |fold| {
            let start = order.partition_point(|&example| fold_of(example) < fold);
            let end = order.partition_point(|&example| fold_of(example) <= fold);
            Fold { seen: [0..start, end..all], held_out: start..start + (end - start) / views }
        };
        let folds = (0..folds).map(of_fold).collect();
        Ok(Self { order, folds })
    }
}

/// Each example's fold: every class is shuffled and dealt out in turn, each class continuing where
/// the one before it ended.
fn stratified_folds(labels: &[u32], classes: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut members = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(example, &label)| members[label as usize].push(example));
    let mut assigned = vec![0; labels.len()];
    let mut next = 0;
    for (class, mut members) in members.into_iter().enumerate() {
        Draws::new(seed, Purpose::Folds, 0, class as u32).shuffle(&mut members);
        for example in members {
            assigned[example] = next % folds;
            next += 1;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_has_its_share_of_every_class() {
        let labels: Vec<u32> = (0..60)
            .map(|example| {
                if example < 35 {
                    0
                } else if example < 58 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let assigned = stratified_folds(&labels, 3, 5, 7);
        for fold in 0..5 {
            let of = |class: u32| {
                (0..60)
                    .filter(|&example| labels[example] == class && assigned[example] == fold)
                    .count()
            };
            assert_eq!(of(0), 7);
            assert!((4..=5).contains(&of(1)) && of(2) <= 1);
            assert_eq!(of(0) + of(1) + of(2), 12);
        }
        assert_ne!(assigned, stratified_folds(&labels, 3, 5, 8), "the seed decides");
    }
}
