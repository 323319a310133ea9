//! How the learning rate moves over a run.

use crate::config::Schedule;

/// The factor on the learning rate at `step` (from 0) of `steps`: a linear rise over
/// `warmup_steps`, then the schedule.
#[must_use]
pub fn factor(schedule: Schedule, step: u64, steps: u64, warmup_steps: u64) -> f32 {
    if step < warmup_steps {
        return (step + 1) as f32 / warmup_steps as f32;
    }
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => {
            let done = (step - warmup_steps) as f64 / (steps - warmup_steps).max(1) as f64;
            (0.5 * (1.0 + (std::f64::consts::PI * done).cos())) as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let cosine: Vec<f32> = (0..10).map(|step| factor(Schedule::Cosine, step, 10, 2)).collect();
        assert_eq!(cosine[..3], [0.5, 1.0, 1.0]);
        assert!((cosine[6] - 0.5).abs() < 1e-6 && cosine[9] > 0.0 && cosine[9] < 0.05);
        assert!((0..10).all(|step| factor(Schedule::Constant, step, 10, 0) == 1.0));
    }
}
