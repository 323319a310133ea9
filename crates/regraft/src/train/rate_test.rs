//! How the learning rate rises in a range test.

/// How the rate rises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateTest {
    /// The first step's rate of the backbone.
    pub from: f32,
    /// The last step's.
    pub to: f32,
    /// Steps between which the rate grows by the same factor.
    pub steps: u64,
}

impl Default for RateTest {
    /// A hundred steps from 1e-6 to 1.
    fn default() -> Self {
        Self { from: 1e-6, to: 1.0, steps: 100 }
    }
}

impl RateTest {
    /// The rate at a step, counted from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f32 {
        let share = step as f64 / (self.steps.max(2) - 1) as f64;
        (f64::from(self.from) * (f64::from(self.to) / f64::from(self.from)).powf(share)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_by_the_same_factor_in_each_step() {
        let test = RateTest { from: 1e-4, to: 1.0, steps: 5 };
        let rates: Vec<f32> = (0..5).map(|step| test.rate(step)).collect();
        for (found, expected) in rates.iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((found / expected - 1.0).abs() < 1e-5, "{rates:?}");
        }
    }
}
