//! Max pooling.

use super::filter::window_shape;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::convolution::ConvolutionShape;
use regraft_kernels::pooling;
use regraft_nn::graph::MapShape;
use regraft_nn::ops::MaxPool;

pub(crate) struct MaxPoolStep {
    operation: MaxPool,
    /// The position of each maximum in its image.
    places: Vec<u32>,
}

impl MaxPoolStep {
    pub fn new(operation: MaxPool) -> Self {
        Self { operation, places: Vec::new() }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }

    fn shape(&self, batch: usize, input: MapShape, output: MapShape) -> ConvolutionShape {
        let MaxPool { kernel, stride, padding } = self.operation;
        window_shape(batch, input, output, kernel, stride, padding)
    }
}

impl Compute for MaxPoolStep {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = self.shape(run.batch, run.input_shapes[0], run.output_shape);
        let places = run.training.map(|_| {
            self.places.resize(run.output.elements, 0);
            self.places.as_mut_slice()
        });
        let [input, output] = disjoint(run.memory, [run.inputs[0].clone(), run.output]);
        with_element!(run.precision, E =>
            pooling::max_forward(&shape, input.of::<E>(), output.of::<E>(), places));
    }

    fn backward(&mut self, run: Backward<'_>) {
        let shape = self.shape(run.batch, run.input_shapes[0], run.output_shape);
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        let [gradient, target] = disjoint(run.memory, [run.gradient, place]);
        with_element!(run.precision, E => {
            pooling::max_backward(&shape, gradient.of::<E>(), &self.places, target.of::<E>(),
                accumulate);
        });
    }
}
