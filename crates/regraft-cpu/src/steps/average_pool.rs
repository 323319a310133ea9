//! Average pooling.

use super::filter::window_shape;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::convolution::ConvolutionShape;
use regraft_kernels::pooling;
use regraft_nn::graph::MapShape;
use regraft_nn::ops::AveragePool;

pub(crate) struct AveragePoolStep {
    operation: AveragePool,
}

impl AveragePoolStep {
    pub fn new(operation: AveragePool) -> Self {
        Self { operation }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }

    fn shape(&self, batch: usize, input: MapShape, output: MapShape) -> ConvolutionShape {
        let AveragePool { kernel, stride, padding } = self.operation;
        window_shape(batch, input, output, kernel, stride, padding)
    }
}

impl Compute for AveragePoolStep {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = self.shape(run.batch, run.input_shapes[0], run.output_shape);
        let [input, output] = disjoint(run.memory, [run.inputs[0].clone(), run.output]);
        with_element!(run.precision, E =>
            pooling::window_average_forward(&shape, input.of::<E>(), output.of::<E>()));
    }

    fn backward(&mut self, run: Backward<'_>) {
        let shape = self.shape(run.batch, run.input_shapes[0], run.output_shape);
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        let [gradient, target] = disjoint(run.memory, [run.gradient, place]);
        with_element!(run.precision, E => {
            pooling::window_average_backward(&shape, gradient.of::<E>(), target.of::<E>(),
                accumulate);
        });
    }
}
