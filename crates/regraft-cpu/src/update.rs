//! Updates one learned tensor.

use regraft_kernels::optimizer;
use regraft_nn::engine::{Optimizer, Update};
use regraft_nn::parameters::Role;

/// A learned tensor with its gradient and its optimiser state.
pub(crate) struct Moving<'a> {
    pub value: &'a mut [f32],
    pub gradient: &'a mut [f32],
    /// Momentum, or AdamW's first moment; empty if the optimiser has none.
    pub first: &'a mut [f32],
    /// AdamW's second moment; empty if the optimiser has none.
    pub second: &'a mut [f32],
}

impl Moving<'_> {
    /// Moves the value by its gradient, which is multiplied by `scale` first. Biases and the
    /// parameters of normalisations decay only if the update says so.
    pub fn update(self, update: &Update<'_>, role: Role, rate: f32, scale: f32) {
        let Self { value, gradient, first, second } = self;
        let weight_decay =
            if role == Role::Weight || update.decay_bias_norm { update.weight_decay } else { 0.0 };
        if scale != 1.0 {
            optimizer::scale(gradient, scale);
        }
        match update.optimizer {
            Optimizer::Sgd { momentum } => {
                optimizer::sgd(value, gradient, first, rate, momentum, weight_decay)
            }
            Optimizer::AdamW(settings) => {
                optimizer::adamw(
                    value,
                    gradient,
                    first,
                    second,
                    update.step,
                    rate,
                    weight_decay,
                    settings,
                );
            }
        }
    }
}
