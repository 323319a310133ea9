//! A convolution with batch norm, and with the addition and the clamp that follow it if they do.

use super::add::keep;
use super::filter::Filter;
use super::norm_state::{After, NormState};
use crate::kernels::batch_norm;
use crate::kernels::finish::Finish;
use crate::kernels::input::Normalization;
use crate::step::{Compute, Context, Parameter, Sizes};
use regraft_nn::layout::Layout;
use regraft_nn::ops::{Add, BatchNorm, Convolution, Function};
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts};

/// `clamp(batch_norm(convolution(input)) + residual)`. Reads the input, then the residual.
pub(crate) struct ConvolutionNorm {
    filter: Filter,
    norm: NormState,
    add: Option<Add>,
    clamp: Option<Function>,
}

impl ConvolutionNorm {
    pub fn new(
        convolution: Convolution,
        norm: BatchNorm,
        add: Option<Add>,
        clamp: Option<Function>,
        has_units: bool,
    ) -> Self {
        Self { filter: Filter::new(convolution, has_units), norm: NormState::new(norm), add, clamp }
    }

    /// Whether the output tells where the clamp was constant, because something was added to it.
    fn is_masked_by_output(&self) -> bool {
        self.add.is_some() && self.clamp.is_some()
    }
}

impl Compute for ConvolutionNorm {
    fn facts(&self) -> Facts {
        Facts {
            keeps_convolved: true,
            is_normalized_convolved: self.add.is_none(),
            reading: self.filter.reading(),
            inputs_read_again: 1,
            reads_output_again: self.is_masked_by_output(),
            ..Facts::default()
        }
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        let extra = self.norm.extra(sizes);
        let backward_scratch = extra.backward_scratch.max(self.filter.scratch(sizes));
        let forward_scratch = extra.forward_scratch.max(self.filter.forward_scratch(sizes));
        Extra { forward_scratch, backward_scratch, ..extra }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let residual = self.add.is_some().then(|| context.input(1));
        let normalization = Normalization { statistics: context.saved(), clamp: self.clamp };
        if !context.is_training {
            let Some(output) = context.output() else { return };
            self.norm.prepare(context, output);
            let finish = Finish::Norm(normalization, residual);
            return self.filter.forward(context, output, &finish);
        }
        let convolved = context.convolved();
        self.filter.forward(context, convolved, &Finish::Nothing);
        self.norm.prepare(context, convolved);
        // Without an output the step that reads this one normalises.
        if let Some(output) = context.output() {
            let (map, keep) = (self.norm.map(&context.sizes), context.keep);
            let recorder = &mut *context.recorder;
            batch_norm::normalize(recorder, map, convolved, normalization, residual, keep, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let after = After {
            clamp: self.clamp,
            output: if self.is_masked_by_output() { context.output() } else { None },
            keep: keep(context).map(|keep| keep.factors),
            residual: if self.add.is_some() { context.target(1) } else { None },
        };
        let convolved = context.convolved();
        self.norm.backward(context, convolved, after);
        self.filter.backward(context);
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        if role == Role::Weight { Some(&mut self.filter.weight) } else { self.norm.parameter(role) }
    }

    fn layout(&self, role: Role) -> Layout {
        if role == Role::Weight { self.filter.layout() } else { Layout::AsIs }
    }

    fn branch(&self) -> Option<(u32, f32)> {
        let add = self.add.as_ref().filter(|add| add.drop_rate > 0.0)?;
        Some((add.stream, add.drop_rate))
    }

    fn clamp(&self) -> Option<Function> {
        self.clamp
    }
}
