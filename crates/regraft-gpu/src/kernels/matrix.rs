//! Matrix products, which are convolutions, linear layers and their gradients: tiles of a product
//! in registers, with operands gathered from maps as they are loaded into workgroup memory.
//!
//! Every element of a product is summed up in one order, whatever the tile.

use super::columns;
use super::finish::{self, Finish};
use super::gather::Gather;
use super::input::{self, Input};
use super::side::{Major, Operand, Product};
use super::tile::{self, PARTS, Size, Tile};
use super::units::{self, Units};
use super::window::Window;
use crate::record::{Buffer, Recorder, Slice, Values};
use crate::shader::{Access, Builder, Shader, Storage, width_of};
use std::sync::Arc;

/// How a device computes products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Products {
    /// The tile of products by ordinary arithmetic; without one it follows from the size.
    pub tile: Option<Tile>,
    /// Bytes of workgroup memory.
    pub memory: usize,
    /// Units that multiply halves, if the device has any and maps are halves.
    pub units: Option<Units>,
    /// Whether the sizes of windows are constants of the shaders, which makes them faster, and
    /// more of them to compile.
    pub has_constants: bool,
}

impl Products {
    /// Those of every device.
    pub fn plain() -> Self {
        Self { tile: Some(Tile::ALL[1]), memory: 16_384, units: None, has_constants: false }
    }
}

/// Weights `[out, kernel, kernel, in / groups]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub window: Window,
    pub products: Products,
}

/// The weights of a product: in f32, and as halves in the copy of the arena.
#[derive(Clone, Copy, Debug)]
struct Weights {
    slice: Slice,
    storage: Storage,
}

impl Weights {
    fn new(weight: Slice, is_packed: bool) -> Self {
        let Slice { start, bytes, buffer } = weight;
        if buffer != Buffer::Learned {
            // Weights of the images' channels, padded to four.
            Self { slice: weight, storage: Storage::F16 }
        } else if is_packed {
            let slice = Slice { buffer: Buffer::Halves, start: start / 2, bytes: bytes / 2 };
            Self { slice, storage: Storage::F16 }
        } else {
            Self { slice: weight, storage: Storage::F32 }
        }
    }
}

impl Convolution {
    /// Input and output channels of a group.
    fn channels(&self) -> [usize; 2] {
        let Window { input, output, groups, .. } = self.window;
        [input.channels / groups, output.channels / groups]
    }

    /// The matrix units for a product of maps of that type, if neighbouring channels of all
    /// operands fill 16 bytes. The images' channels need not: their vectors are assembled.
    fn units(&self, storage: Storage, channels: &[usize]) -> Option<Units> {
        let fits = channels.iter().all(|channels| channels.is_multiple_of(8));
        self.products.units.filter(|_| storage == Storage::F16 && fits)
    }

    fn gather(&self, has_units: bool) -> Gather {
        let [inputs, _] = self.channels();
        Gather {
            window: self.window,
            is_constant: self.products.has_constants && !self.window.is_point(),
            is_packed: has_units,
            piece: (has_units && !inputs.is_multiple_of(8)).then(|| width_of(inputs)),
        }
    }

    /// The convolution of `input`.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        input: &Input,
        weight: Slice,
        output: Values,
        finish: &Finish,
    ) {
        let [inputs, outputs] = self.channels();
        let units = self.units(input.values.storage, &[]);
        let gather = self.gather(units.is_some());
        let outer = width_of(outputs);
        let (inner, weights) = (gather.width(inputs), Weights::new(weight, units.is_some()));
        let stored = gather.piece.unwrap_or(inner);
        let builder = Builder::with_output("convolution_forward", stored.min(4), outer);
        let builder = gather.bind_input(gather.bind(builder), input, inner);
        let access = if weight.buffer == Buffer::Learned { Access::Read } else { Access::Write };
        let builder = builder.bind("weight", weights.storage, stored, access);
        let builder = finish::bind(builder, finish, output.storage, outer);
        let (from_input, from_weight) = (gather.input(inner), gather.weight(inner));
        let left = Operand {
            major: Major::Depth,
            width: inner,
            prepared: gather.output_pixel(),
            at: &from_input.at,
            load: &from_input.load,
            value: &from_input.value,
        };
        let right = Operand {
            major: Major::Depth,
            width: inner,
            prepared: ("u32", "row"),
            at: &from_weight.at,
            load: &from_weight.load,
            value: &from_weight.value,
        };
        let store = format!(
            "let channel = (group * {} + column) / {outer}u;\n\
             finish(value, channel, row * ({} / {outer}u) + channel);",
            gather.size("outputs"),
            gather.size("all_outputs")
        );
        let depth = self.window.taps() * inputs;
        let size = Size {
            rows: self.window.output_pixels(),
            columns: outputs,
            depth,
            parts: 1,
            length: depth,
            groups: self.window.groups,
        };
        let (shader, tile) = self.shader(
            builder,
            units,
            size,
            &Product { left, right, width: outer, extent: PARTS, store: &store },
        );
        let (mut slices, mut params) = (vec![("weight", weights.slice)], gather.params());
        input::give(input, stored, &mut slices, &mut params);
        let vectors = crate::record::number(self.window.output.channels / outer);
        finish::give(finish, output, vectors, &mut slices, &mut params);
        tile::record(recorder, shader, tile, size, &slices, params);
    }

    /// The gradient of the input, written or added to `target`.
    ///
    /// With a stride, input pixels whose places differ by multiples of it are read by the same
    /// taps. Each such set of pixels is a product of its own.
    pub fn backward_input(
        &self,
        recorder: &mut Recorder,
        gradient: Values,
        weight: Slice,
        target: Values,
        accumulate: bool,
    ) {
        let [inputs, outputs] = self.channels();
        let units = self.units(gradient.storage, &[inputs, outputs]);
        let gather = self.gather(units.is_some());
        let (inner, outer) = (gather.width(inputs), gather.width(outputs));
        let weights = Weights::new(weight, units.is_some());
        let stored = width_of(inputs);
        let finish = if accumulate { Finish::Accumulate } else { Finish::Nothing };
        let builder = Builder::with_output("convolution_backward_input", stored, stored);
        let builder = gather.bind_phases(gather.bind(builder));
        let builder = builder.map("g", gradient.storage, outer);
        let builder = builder.bind("weight", weights.storage, inner, Access::Read);
        let builder = finish::bind(builder, &finish, target.storage, stored);
        let (from_gradient, from_weight) = (gather.gradient(outer), gather.turned_weight(inner));
        let left = Operand {
            major: Major::Depth,
            width: outer,
            prepared: gather.input_pixel(),
            at: &from_gradient.at,
            load: &from_gradient.load,
            value: &from_gradient.value,
        };
        let right = Operand {
            major: Major::Row,
            width: inner,
            prepared: ("u32", "row"),
            at: &from_weight.at,
            load: &from_weight.load,
            value: &from_weight.value,
        };
        let store = format!(
            "let channel = (group * {} + column) / {stored}u;\n\
             finish(value, channel, {} * ({} / {stored}u) + channel);",
            gather.size("inputs"),
            gather.input_place(),
            gather.size("all_inputs")
        );
        let (stride, input) = (self.window.stride, self.window.input);
        let rows =
            self.window.images * input.height.div_ceil(stride) * input.width.div_ceil(stride);
        let depth = self.window.kernel.div_ceil(stride).pow(2) * outputs;
        let size = Size {
            rows,
            columns: inputs,
            depth,
            parts: stride * stride,
            length: depth,
            groups: self.window.groups,
        };
        let extent = gather.phases();
        let (shader, tile) = self.shader(
            builder,
            units,
            size,
            &Product { left, right, width: stored, extent: &extent, store: &store },
        );
        let (mut slices, mut params) =
            (vec![("g", gradient.slice), ("weight", weights.slice)], gather.params());
        finish::give(&finish, target, 0, &mut slices, &mut params);
        tile::record(recorder, shader, tile, size, &slices, params);
    }

    /// How many pieces the sum over the pixels is cut into, and the pixels of each: enough pieces
    /// to keep a large device busy, which depend on the shape alone.
    fn splits(&self) -> (usize, usize) {
        /// Workgroups that a large device is busy with.
        const BUSY: usize = 1024;
        /// A multiple of every tile's depth.
        const UNIT: usize = 64;
        let [inputs, outputs] = self.channels();
        let columns = self.window.taps() * inputs;
        let tiles = outputs.div_ceil(64) * columns.div_ceil(64) * self.window.groups;
        let pixels = self.window.output_pixels();
        let most = pixels.div_ceil(8 * UNIT).max(1);
        let length = pixels.div_ceil(BUSY.div_ceil(tiles).min(most)).next_multiple_of(UNIT);
        (pixels.div_ceil(length), length)
    }

    /// Elements of f32 that [`Self::backward_weight`] takes meanwhile.
    pub fn scratch(window: Window) -> usize {
        let convolution = Self { window, products: Products::plain() };
        convolution.splits().0 * convolution.weights()
    }

    fn weights(&self) -> usize {
        let [inputs, _] = self.channels();
        self.window.output.channels * self.window.taps() * inputs
    }

    /// The gradient of the weights.
    pub fn backward_weight(
        &self,
        recorder: &mut Recorder,
        input: &Input,
        gradient: Values,
        scratch: Slice,
        arguments: Slice,
        target: Slice,
    ) {
        let [inputs, outputs] = self.channels();
        let units = match (input.values.storage, gradient.storage) {
            (Storage::F16, Storage::F16) => self.units(Storage::F16, &[outputs]),
            _ => None,
        };
        let gather = self.gather(units.is_some());
        let (inner, outer) = (gather.width(inputs), gather.width(outputs));
        let (stored, sums) = (gather.piece.unwrap_or(inner), width_of(inputs));
        let (splits, length) = self.splits();
        let builder = Builder::with_output("convolution_backward_weight", stored.min(4), sums);
        let builder = gather.bind_input(gather.bind(builder), input, inner);
        let builder = builder.map("g", gradient.storage, outer).map("y", Storage::F32, sums);
        let from_gradient = gather.turned_gradient(outer);
        let left = Operand {
            major: Major::Row,
            width: outer,
            prepared: ("u32", "row"),
            at: &from_gradient.at,
            load: &from_gradient.load,
            value: &from_gradient.value,
        };
        let from_input = gather.turned_input(inner);
        let right = Operand {
            major: Major::Row,
            width: inner,
            prepared: gather.tap(),
            at: &from_input.at,
            load: &from_input.load,
            value: &from_input.value,
        };
        let store = format!(
            "let at = ((part * P.groups + group) * P.rows + row) * P.columns + column;\n\
             store_y(at / {sums}u, value);"
        );
        let size = Size {
            rows: outputs,
            columns: self.window.taps() * inputs,
            depth: self.window.output_pixels(),
            parts: splits,
            length,
            groups: self.window.groups,
        };
        let (shader, tile) = self.shader(
            builder,
            units,
            size,
            &Product { left, right, width: sums, extent: PARTS, store: &store },
        );
        let (mut slices, mut params) =
            (vec![("g", gradient.slice), ("y", scratch)], gather.params());
        input::give(input, stored, &mut slices, &mut params);
        tile::record(recorder, shader, tile, size, &slices, params);
        let stride = [self.weights(), 0];
        let is_padded = target.bytes < 4 * self.weights() as u64;
        columns::total_of(recorder, scratch, splits, stride, is_padded, arguments, target);
    }

    /// The shader of a product, and the rows and columns of its tile.
    fn shader(
        &self,
        builder: Builder,
        units: Option<Units>,
        size: Size,
        product: &Product<'_>,
    ) -> (Arc<Shader>, [usize; 2]) {
        let Size { rows, columns, parts, length, groups, .. } = size;
        if let Some(units) = units {
            let tile = units.tile(rows, columns, length);
            let shader = units::shader(builder, units, tile, product);
            return (shader, [tile.rows, tile.columns]);
        }
        let chosen = || Tile::of(rows, columns, parts * groups, self.products.memory);
        let tile = self.products.tile.unwrap_or_else(chosen);
        (tile::shader(builder, tile, product), [tile.rows, tile.columns])
    }
}
