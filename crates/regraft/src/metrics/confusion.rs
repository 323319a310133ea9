//! Counts of true against predicted class.

/// A confusion matrix: how many images of each true class were given each predicted class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[C, C]`: true class, then predicted class.
    counts: Vec<u64>,
}

impl Confusion {
    /// An empty matrix for this many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts one image.
    ///
    /// # Panics
    /// Where an index is not below the class count.
    pub fn add(&mut self, true_class: usize, predicted_class: usize) {
        let cell = self.cell(true_class, predicted_class);
        self.counts[cell] += 1;
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Images of `true_class` that were given `predicted_class`.
    ///
    /// # Panics
    /// Where an index is not below the class count.
    pub fn count(&self, true_class: usize, predicted_class: usize) -> u64 {
        self.counts[self.cell(true_class, predicted_class)]
    }

    /// Images whose predicted class is the true one.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Images that were given this class, rightly or not.
    ///
    /// # Panics
    /// Where the index is not below the class count.
    pub fn predicted_as(&self, class: usize) -> u64 {
        (0..self.classes).map(|true_class| self.count(true_class, class)).sum()
    }

    /// The matrix as rows, one for each true class.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        (0..self.classes)
            .map(|class| self.counts[class * self.classes..][..self.classes].to_vec())
            .collect()
    }

    fn cell(&self, true_class: usize, predicted_class: usize) -> usize {
        assert!(
            true_class < self.classes && predicted_class < self.classes,
            "class {true_class} or {predicted_class} of a confusion matrix of {} classes",
            self.classes
        );
        true_class * self.classes + predicted_class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_true_by_predicted() {
        let mut confusion = Confusion::new(3);
        for (true_class, predicted_class) in [(0, 0), (0, 1), (2, 1), (1, 1), (2, 1)] {
            confusion.add(true_class, predicted_class);
        }
        assert_eq!(confusion.rows(), [[1, 1, 0], [0, 1, 0], [0, 2, 0]]);
        assert_eq!(confusion.correct(), 2);
        assert_eq!(confusion.predicted_as(1), 4);
        assert_eq!(confusion.count(2, 1), 2);
        assert_eq!(confusion.classes(), 3);
    }

    #[test]
    #[should_panic(expected = "of a confusion matrix of 2 classes")]
    fn a_predicted_class_out_of_range_is_not_another_row() {
        Confusion::new(2).add(0, 2);
    }
}
