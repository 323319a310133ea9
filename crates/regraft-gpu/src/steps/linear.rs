//! A linear layer of vectors, with the dropout before it: a product of the vectors and the weights.

use crate::kernels::columns::{self, Blocks};
use crate::kernels::finish::Finish;
use crate::kernels::input::Input;
use crate::kernels::matrix::{Convolution as Matrix, Products};
use crate::kernels::random;
use crate::record::{Slice, Values};
use crate::shader::Storage;
use crate::step::{Compute, Context, Parameter, Sizes};
use regraft_nn::ops::{Dropout, Linear, Padding};
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts};

pub(crate) struct LinearStep {
    inputs: usize,
    /// The dropout, if it drops anything.
    dropout: Option<Dropout>,
    weight: Parameter,
    bias: Option<Parameter>,
}

impl LinearStep {
    pub fn new(linear: &Linear, dropout: Option<Dropout>) -> Self {
        Self {
            inputs: linear.inputs,
            dropout: dropout.filter(|dropout| dropout.rate > 0.0),
            weight: Parameter::default(),
            bias: linear.bias.then(Parameter::default),
        }
    }

    fn matrix(sizes: &Sizes, products: Products) -> Matrix {
        Matrix { window: sizes.window(1, 1, Padding::Each(0), 1), products }
    }

    /// Elements of all the vectors that come in.
    fn elements(&self, sizes: &Sizes) -> usize {
        sizes.batch * sizes.inputs[0].pixels() * self.inputs
    }

    /// The product's input: the vectors after dropout.
    fn input(&self, context: &Context<'_>) -> Input {
        let values = if self.dropout.is_some() && context.is_training {
            Values { slice: context.saved(), storage: Storage::F32 }
        } else {
            context.input(0)
        };
        Input { values, normalization: None, channels: self.inputs }
    }
}

impl Compute for LinearStep {
    fn facts(&self) -> Facts {
        Facts { inputs_read_again: 1, reads_f32: true, gives_vector: true, ..Facts::default() }
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        let dropped = if self.dropout.is_some() { self.elements(sizes) } else { 0 };
        let bias = Blocks::of(sizes.output_pixels()).count() * sizes.output.channels;
        let weights = Matrix::scratch(sizes.window(1, 1, Padding::Each(0), 1));
        let backward_scratch = dropped.max(bias).max(weights);
        Extra { saved: dropped, backward_scratch, ..Extra::default() }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let Some(output) = context.output() else { return };
        let (input, source) = (self.input(context), context.input(0));
        let (length, arguments) = (context.sizes.inputs[0].length(), context.arguments);
        let size = [context.sizes.batch, length];
        if let Some(dropout) = self.dropout.as_ref().filter(|_| context.is_training) {
            let target = (input.values, false);
            random::dropout(context.recorder, dropout, source, size, arguments, target);
        }
        let finish = match &self.bias {
            Some(bias) => Finish::Bias(bias.value()),
            None => Finish::Nothing,
        };
        let matrix = Self::matrix(&context.sizes, context.products);
        matrix.forward(context.recorder, &input, self.weight.value(), output, &finish);
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (gradient, scratch) = (context.gradient(), context.backward_scratch());
        let (arguments, weight) = (context.arguments, context.gradient_of(&self.weight));
        let (input, target) = (self.input(context), context.target(0));
        let matrix = Self::matrix(&context.sizes, context.products);
        if let Some(bias) = &self.bias {
            let size = [context.sizes.output_pixels(), context.sizes.output.channels];
            let own = context.gradient_of(bias);
            columns::bias(context.recorder, gradient, size, scratch, arguments, own);
        }
        matrix.backward_weight(context.recorder, &input, gradient, scratch, arguments, weight);
        let Some((target, accumulate)) = target else { return };
        let Some(dropout) = &self.dropout else {
            let weight = self.weight.value();
            return matrix.backward_input(context.recorder, gradient, weight, target, accumulate);
        };
        let elements = self.elements(&context.sizes) as u64;
        let undropped =
            Values { slice: Slice { bytes: 4 * elements, ..scratch }, storage: Storage::F32 };
        let size = [context.sizes.batch, context.sizes.inputs[0].length()];
        let recorder = &mut *context.recorder;
        matrix.backward_input(recorder, gradient, self.weight.value(), undropped, false);
        random::dropout(recorder, dropout, undropped, size, arguments, (target, accumulate));
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::Weight => Some(&mut self.weight),
            Role::Bias => self.bias.as_mut(),
            _ => None,
        }
    }
}
