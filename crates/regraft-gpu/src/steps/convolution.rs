//! A convolution that no batch norm follows.

use super::filter::Filter;
use crate::kernels::columns::{self, Blocks};
use crate::kernels::finish::Finish;
use crate::step::{Compute, Context, Parameter, Sizes};
use regraft_nn::layout::Layout;
use regraft_nn::ops::Convolution;
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts};

pub(crate) struct ConvolutionStep {
    filter: Filter,
    bias: Option<Parameter>,
}

impl ConvolutionStep {
    pub fn new(convolution: Convolution, has_units: bool) -> Self {
        let bias = convolution.bias.then(Parameter::default);
        Self { filter: Filter::new(convolution, has_units), bias }
    }
}

impl Compute for ConvolutionStep {
    fn facts(&self) -> Facts {
        Facts { reading: self.filter.reading(), inputs_read_again: 1, ..Facts::default() }
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        let bias = if self.bias.is_some() {
            Blocks::of(sizes.output_pixels()).count() * sizes.output.channels
        } else {
            0
        };
        Extra {
            forward_scratch: self.filter.forward_scratch(sizes),
            backward_scratch: self.filter.scratch(sizes).max(bias),
            ..Extra::default()
        }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let finish = match &self.bias {
            Some(bias) => Finish::Bias(bias.value()),
            None => Finish::Nothing,
        };
        if let Some(output) = context.output() {
            self.filter.forward(context, output, &finish);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        if let Some(bias) = &self.bias {
            let size = [context.sizes.output_pixels(), context.sizes.output.channels];
            let (gradient, scratch) = (context.gradient(), context.backward_scratch());
            let (arguments, own) = (context.arguments, context.gradient_of(bias));
            columns::bias(context.recorder, gradient, size, scratch, arguments, own);
        }
        self.filter.backward(context);
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::Weight => Some(&mut self.filter.weight),
            Role::Bias => self.bias.as_mut(),
            _ => None,
        }
    }

    fn layout(&self, role: Role) -> Layout {
        if role == Role::Weight { self.filter.layout() } else { Layout::AsIs }
    }
}
