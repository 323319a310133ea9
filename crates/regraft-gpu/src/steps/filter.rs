//! The weights of a convolution, and which kernels run it.

use crate::kernels::depthwise::Depthwise;
use crate::kernels::elementwise;
use crate::kernels::finish::Finish;
use crate::kernels::input::Input;
use crate::kernels::matrix::Convolution as Matrix;
use crate::kernels::window::Window;
use crate::record::{Slice, Values};
use crate::shader::Storage;
use crate::step::{Context, Parameter, Sizes, UNIT};
use regraft_nn::layout::Layout;
use regraft_nn::ops::Convolution;
use regraft_nn::plan::{Reading, StepSource};

/// A convolution's weights.
pub(super) struct Filter {
    pub operation: Convolution,
    pub weight: Parameter,
    /// Whether matrix units multiply.
    has_units: bool,
}

/// Elements of f32 for `count` vectors of four halves, up to the next place where a shader can bind
/// a buffer.
fn padded(count: usize) -> usize {
    (2 * count).next_multiple_of(UNIT / 4)
}

/// Copies `count` vectors of three channels to the beginning of `scratch` as four halves, the last
/// one zero, and takes them off it.
fn pad(context: &mut Context<'_>, values: Values, count: usize, scratch: &mut Slice) -> Values {
    let bytes = 8 * count as u64;
    let slice = Slice { bytes, ..*scratch };
    let taken = 4 * padded(count) as u64;
    *scratch = Slice {
        buffer: scratch.buffer,
        start: scratch.start + taken,
        bytes: scratch.bytes.saturating_sub(taken),
    };
    let padded = Values { slice, storage: Storage::F16 };
    elementwise::pad(context.recorder, values, count, padded);
    padded
}

impl Filter {
    pub fn new(operation: Convolution, has_units: bool) -> Self {
        Self { operation, has_units, weight: Parameter::default() }
    }

    /// Whether the convolution normalises its input as it reads it. For matrix units, a larger
    /// filter would do so once for every tap, which costs more than a map in memory: on an H100,
    /// products of normalised 3x3 windows took 1.3 to 1.6 times as long.
    pub fn reading(&self) -> Reading {
        let Convolution { kernel, .. } = self.operation;
        if self.has_units && kernel > 1 && !self.operation.is_depthwise() {
            Reading::Plain
        } else {
            Reading::Normalizes
        }
    }

    /// The order of the weights' elements.
    pub fn layout(&self) -> Layout {
        if self.operation.is_depthwise() { Layout::Depthwise } else { Layout::ChannelsLast }
    }

    fn window(&self, sizes: &Sizes) -> Window {
        let Convolution { kernel, stride, padding, groups, .. } = self.operation;
        sizes.window(kernel, stride, padding, groups)
    }

    fn depthwise(context: &Context<'_>, window: Window) -> Depthwise {
        Depthwise { window, has_constants: context.products.has_constants }
    }

    /// Whether three channels may have to become four: see [`Self::pads`].
    fn may_pad(&self) -> bool {
        self.has_units && self.operation.in_channels == 3 && self.operation.groups == 1
    }

    /// Whether the images' three channels and those of the weights become four in memory of their
    /// own, so that matrix units load whole pixels. Images have neither a normalisation nor a
    /// gradient.
    fn pads(&self, context: &Context<'_>) -> bool {
        self.may_pad() && context.steps[context.index].inputs[0] == StepSource::Image
    }

    /// Elements of f32 that the forward pass takes meanwhile.
    pub fn forward_scratch(&self, sizes: &Sizes) -> usize {
        if !self.may_pad() {
            return 0;
        }
        let window = self.window(sizes);
        padded(window.input_pixels()) + padded(window.taps() * window.output.channels)
    }

    /// Elements of f32 that the gradients take meanwhile.
    pub fn scratch(&self, sizes: &Sizes) -> usize {
        let mut window = self.window(sizes);
        if self.operation.is_depthwise() {
            return Depthwise::scratch(window);
        }
        let mut image = 0;
        if self.may_pad() {
            window.input.channels = 4;
            image = padded(window.input_pixels());
        }
        image + Matrix::scratch(window)
    }

    /// The images with four channels, at the beginning of `scratch`, and the window over them.
    fn images(&self, context: &mut Context<'_>, scratch: &mut Slice) -> (Window, Input) {
        let (mut window, images) = (self.window(&context.sizes), context.input(0));
        window.input.channels = 4;
        let values = pad(context, images, window.input_pixels(), scratch);
        (window, Input { values, normalization: None, channels: 4 })
    }

    pub fn forward(&self, context: &mut Context<'_>, output: Values, finish: &Finish) {
        let (mut window, mut input) = (self.window(&context.sizes), context.reading());
        let mut weight = self.weight.value();
        if self.pads(context) {
            let mut scratch = context.forward_scratch();
            (window, input) = self.images(context, &mut scratch);
            let values = Values { slice: weight, storage: Storage::F32 };
            let count = window.taps() * window.output.channels;
            weight = pad(context, values, count, &mut scratch).slice;
        }
        if self.operation.is_depthwise() {
            let depthwise = Self::depthwise(context, window);
            depthwise.forward(context.recorder, &input, weight, output, finish);
        } else {
            let matrix = Matrix { window, products: context.products };
            matrix.forward(context.recorder, &input, weight, output, finish);
        }
    }

    /// The gradients of weights and input, given that of the output.
    pub fn backward(&self, context: &mut Context<'_>) {
        let (mut window, mut input) = (self.window(&context.sizes), context.reading());
        let (gradient, mut scratch) = (context.gradient(), context.backward_scratch());
        if self.pads(context) {
            (window, input) = self.images(context, &mut scratch);
        }
        let (arguments, own) = (context.arguments, context.gradient_of(&self.weight));
        let (weight, target) = (self.weight.value(), context.target(0));
        let matrix = Matrix { window, products: context.products };
        let depthwise = Self::depthwise(context, window);
        let recorder = &mut *context.recorder;
        if self.operation.is_depthwise() {
            depthwise.backward_weight(recorder, &input, gradient, scratch, arguments, own);
        } else {
            matrix.backward_weight(recorder, &input, gradient, scratch, arguments, own);
        }
        let Some((target, accumulate)) = target else { return };
        if self.operation.is_depthwise() {
            depthwise.backward_input(recorder, gradient, weight, target, accumulate);
        } else {
            matrix.backward_input(recorder, gradient, weight, target, accumulate);
        }
    }
}
