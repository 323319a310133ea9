//! Matrix products, which are convolutions, linear layers and their gradients: tiles of a product
//! in registers, with operands gathered from maps as they are loaded into workgroup memory.
//!
//! Every element of a product is summed up in one order, whatever the tile.

use super::columns;
use super::finish::{self, Finish};
use super::input::{self, Input};
use super::tile::{self, Major, Operand, Tile};
use super::window::{NAMES, Window};
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Builder, Storage, width_of};

/// Weights `[out, kernel, kernel, in / groups]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub window: Window,
    pub tile: Tile,
}

impl Convolution {
    /// Input and output channels of a group.
    fn channels(&self) -> [usize; 2] {
        let Window { input, output, groups, .. } = self.window;
        [input.channels / groups, output.channels / groups]
    }

    fn widths(&self) -> [usize; 2] {
        self.channels().map(width_of)
    }

    fn params(&self) -> Vec<(&'static str, u32)> {
        let [inputs, outputs] = self.channels();
        let mut params = self.window.params().to_vec();
        params.extend([
            ("groups", number(self.window.groups)),
            ("inputs", number(inputs)),
            ("outputs", number(outputs)),
        ]);
        params
    }

    /// Adds the parameters, and the places of a pixel and of a tap.
    fn bind(builder: Builder) -> Builder {
        builder.params(&NAMES).params(&["groups", "inputs", "outputs"]).code(
            "struct Pixel { image: u32, y: i32, x: i32 }
            fn pixel_of(at: u32, height: u32, width: u32) -> Pixel {
                let image = at / (height * width);
                let rest = at - image * (height * width);
                let y = rest / width;
                return Pixel(image, i32(y), i32(rest - y * width));
            }
            struct Tap { y: i32, x: i32, channel: u32 }
            fn tap_of(at: u32, channels: u32) -> Tap {
                let tap = at / channels;
                let y = tap / P.kernel;
                return Tap(i32(y), i32(tap - y * P.kernel), at - tap * channels);
            }
            // Where a tap of an output pixel lies in the input, in elements; less than 0 outside.
            fn input_at(out: Pixel, tap: Tap, group: u32) -> i32 {
                let y = out.y * i32(P.stride) + tap.y - i32(P.top);
                let x = out.x * i32(P.stride) + tap.x - i32(P.left);
                if (y < 0 || x < 0 || y >= i32(P.in_height) || x >= i32(P.in_width)) { return -1; }
                let pixel = (out.image * P.in_height + u32(y)) * P.in_width + u32(x);
                return i32(pixel * (P.groups * P.inputs) + group * P.inputs + tap.channel);
            }
            // Where the output pixel lies that read an input pixel by a tap.
            fn output_at(own: Pixel, tap: Tap, group: u32) -> i32 {
                let stride = i32(P.stride);
                let y = own.y + i32(P.top) - tap.y;
                let x = own.x + i32(P.left) - tap.x;
                let row = y / stride;
                let column = x / stride;
                if (y < 0 || x < 0 || row >= i32(P.out_height) || column >= i32(P.out_width)
                    || row * stride != y || column * stride != x) { return -1; }
                let pixel = (own.image * P.out_height + u32(row)) * P.out_width + u32(column);
                return i32(pixel * (P.groups * P.outputs) + group * P.outputs + tap.channel);
            }",
        )
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
        let [inner, outer] = self.widths();
        let [inputs, outputs] = self.channels();
        let builder = Self::bind(Builder::with_output("convolution_forward", inner, outer));
        let builder = input::bind(builder, input, inner).read("weight", inner);
        let builder = finish::bind(builder, finish, output.storage, outer);
        let vector = tile::vector(inner);
        let left = Operand {
            major: Major::Depth,
            width: inner,
            prepared: ("Pixel", "pixel_of(row, P.out_height, P.out_width)"),
            // A tap's channel is a multiple of the width.
            load: &format!(
                "let at = input_at(own, tap_of(depth, P.inputs), group);\n\
                 var v = {vector}(0.0);\n\
                 if (at >= 0) {{ v = value_x(u32(at) / {inner}u, \
                 (u32(at) % (P.groups * P.inputs)) / {inner}u); }}\nreturn v;"
            ),
        };
        let right = Operand {
            major: Major::Depth,
            width: inner,
            prepared: ("u32", "row"),
            load: &format!(
                "return load_weight(((group * P.outputs + own) * P.depth + depth) / {inner}u);"
            ),
        };
        let store = format!(
            "let channel = (group * P.outputs + column) / {outer}u;\n\
             finish(value, channel, row * (P.groups * P.outputs / {outer}u) + channel);"
        );
        let shader = tile::shader(builder, self.tile, &left, &right, outer, &store);
        let (mut slices, mut params) = (vec![("weight", weight)], self.params());
        input::give(input, inner, &mut slices, &mut params);
        let vectors = number(self.window.output.channels / outer);
        finish::give(finish, output, vectors, &mut slices, &mut params);
        let depth = self.window.taps() * inputs;
        let sizes = [self.window.output_pixels(), outputs, depth];
        tile::record(recorder, shader, self.tile, sizes, [1, sizes[2]], &slices, params);
    }

    /// The gradient of the input, written or added to `target`.
    pub fn backward_input(
        &self,
        recorder: &mut Recorder,
        gradient: Values,
        weight: Slice,
        target: Values,
        accumulate: bool,
    ) {
        let [inner, outer] = self.widths();
        let [inputs, outputs] = self.channels();
        let finish = if accumulate { Finish::Accumulate } else { Finish::Nothing };
        let builder = Self::bind(Builder::new("convolution_backward_input", inner));
        let builder = builder.map("g", gradient.storage, outer).read("weight", inner);
        let builder = finish::bind(builder, &finish, target.storage, inner);
        let vector = tile::vector(outer);
        let left = Operand {
            major: Major::Depth,
            width: outer,
            prepared: ("Pixel", "pixel_of(row, P.in_height, P.in_width)"),
            load: &format!(
                "let at = output_at(own, tap_of(depth, P.outputs), group);\n\
                 var v = {vector}(0.0);\n\
                 if (at >= 0) {{ v = load_g(u32(at) / {outer}u); }}\nreturn v;"
            ),
        };
        let right = Operand {
            major: Major::Row,
            width: inner,
            prepared: ("u32", "row"),
            load: &format!(
                "let tap = depth / P.outputs;\nlet out = group * P.outputs + depth % P.outputs;\n\
                 return load_weight(((out * P.kernel * P.kernel + tap) * P.inputs + own) \
                 / {inner}u);"
            ),
        };
        let store = format!(
            "let channel = (group * P.inputs + column) / {inner}u;\n\
             finish(value, channel, row * (P.groups * P.inputs / {inner}u) + channel);"
        );
        let shader = tile::shader(builder, self.tile, &left, &right, inner, &store);
        let (mut slices, mut params) =
            (vec![("g", gradient.slice), ("weight", weight)], self.params());
        finish::give(&finish, target, 0, &mut slices, &mut params);
        let sizes = [self.window.input_pixels(), inputs, self.window.taps() * outputs];
        tile::record(recorder, shader, self.tile, sizes, [1, sizes[2]], &slices, params);
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
    pub fn scratch(&self) -> usize {
        self.splits().0 * self.weights()
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
        let [inner, outer] = self.widths();
        let [inputs, outputs] = self.channels();
        let (splits, length) = self.splits();
        let builder = Self::bind(Builder::new("convolution_backward_weight", inner));
        let builder = input::bind(builder, input, inner).map("g", gradient.storage, outer);
        let builder = builder.map("y", Storage::F32, inner);
        let left = Operand {
            major: Major::Row,
            width: outer,
            prepared: ("u32", "row"),
            load: &format!(
                "return load_g((depth * (P.groups * P.outputs) + group * P.outputs + own) \
                 / {outer}u);"
            ),
        };
        let vector = tile::vector(inner);
        let right = Operand {
            major: Major::Row,
            width: inner,
            prepared: ("Tap", "tap_of(row, P.inputs)"),
            load: &format!(
                "let at = input_at(pixel_of(depth, P.out_height, P.out_width), own, group);\n\
                 var v = {vector}(0.0);\n\
                 if (at >= 0) {{ v = value_x(u32(at) / {inner}u, \
                 (u32(at) % (P.groups * P.inputs)) / {inner}u); }}\nreturn v;"
            ),
        };
        let store = format!(
            "let at = ((part * P.groups + group) * P.rows + row) * P.columns + column;\n\
             store_y(at / {inner}u, value);"
        );
        let shader = tile::shader(builder, self.tile, &left, &right, inner, &store);
        let (mut slices, mut params) = (vec![("g", gradient.slice), ("y", scratch)], self.params());
        input::give(input, inner, &mut slices, &mut params);
        let sizes = [outputs, self.window.taps() * inputs, self.window.output_pixels()];
        tile::record(recorder, shader, self.tile, sizes, [splits, length], &slices, params);
        let weights = self.weights();
        columns::total(recorder, scratch, splits, [weights, 0], arguments, target);
    }
}
