//! Depthwise convolution: a thread computes a few neighbouring pixels of a vector of channels, so
//! that it loads what their windows share once. Weights are `[kernel, kernel, channels]`.

use super::columns::{self, Blocks, Into, Planes};
use super::finish::{self, Finish};
use super::gather::Gather;
use super::input::{self, Input};
use super::window::Window;
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Builder, Storage, width_of};
use std::fmt::Write;

/// Neighbouring pixels of a thread.
const OWN: usize = 4;

/// A depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depthwise {
    pub window: Window,
    /// As [`super::matrix::Products::has_constants`].
    pub has_constants: bool,
}

impl Depthwise {
    fn gather(&self) -> Gather {
        Gather {
            window: self.window,
            is_constant: self.has_constants,
            is_packed: false,
            piece: None,
        }
    }

    fn width(&self) -> usize {
        width_of(self.window.input.channels)
    }

    fn vectors(&self) -> usize {
        self.window.input.channels / self.width()
    }

    /// Input pixels of a row that a thread's windows read.
    fn reach(&self) -> usize {
        (OWN - 1) * self.window.stride + self.window.kernel
    }

    /// Groups of a thread's pixels in a row of `width` pixels.
    fn groups(width: usize) -> usize {
        width.div_ceil(OWN)
    }

    fn code(&self, text: &str) -> String {
        self.gather().code(text)
    }

    /// The vector `c`, and from the number `rest` of a thread's group the column `x0` of its first
    /// pixel, the number `line` of its row, `y` and `image`.
    fn place(&self, height: &str, width: &str) -> String {
        self.code(&format!(
            "let groups = (G.{width} + {}u) / {OWN}u;\n\
             let line = rest / groups; let x0 = (rest - line * groups) * {OWN}u;\n\
             let image = line / G.{height}; let y = line - image * G.{height};\n",
            OWN - 1
        ))
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
        let (gather, width, vectors) = (self.gather(), self.width(), self.vectors());
        let Window { kernel, stride, output: size, images, .. } = self.window;
        let builder = gather.bind(Builder::new(format!("depthwise_forward_{kernel}"), width));
        let builder = input::bind(builder, input, width).read("weight", width).params(&["vectors"]);
        let builder = finish::bind(builder, finish, output.storage, width);
        let mut body = format!(
            "let c = i % P.vectors; let rest = i / P.vectors;\n{}\
             let column = i32(x0 * {stride}u) - i32(G.left);\n",
            self.place("out_height", "out_width")
        );
        for own in 0..OWN {
            writeln!(body, "var sum{own} = V(0.0);").expect("a string takes all");
        }
        for y in 0..kernel {
            write!(
                body,
                "{{ let row = i32(y * {stride}u + {y}u) - i32(G.top);\n\
                 if (row >= 0 && row < i32(G.in_height)) {{\n\
                 let line_at = (image * G.in_height + u32(row)) * G.in_width;\n"
            )
            .expect("a string takes all");
            self.weights(&mut body, y);
            self.inputs(&mut body);
            for x in 0..self.reach() {
                for own in (0..OWN).filter(|own| (own * stride..own * stride + kernel).contains(&x))
                {
                    let tap = x - own * stride;
                    writeln!(body, "sum{own} = fma(v{x}, w{tap}, sum{own});")
                        .expect("a string takes all");
                }
            }
            body.push_str("} }\n");
        }
        self.finish(&mut body, "out_width");
        let (mut slices, mut params) = (vec![("weight", weight)], gather.params());
        params.push(("vectors", number(vectors)));
        input::give(input, width, &mut slices, &mut params);
        finish::give(finish, output, number(vectors), &mut slices, &mut params);
        let count = images * size.height * Self::groups(size.width) * vectors;
        recorder.each(builder.each(&self.code(&body)), &slices, &params, count);
    }

    /// Loads the inputs `v0`, `v1`, ... of a row that a thread's windows read: all of them before
    /// the first is normalised, and zeros outside.
    fn inputs(&self, body: &mut String) {
        for x in 0..self.reach() {
            writeln!(
                body,
                "let r{x} = load_x((line_at + \
                 u32(clamp(column + {x}, 0, i32(G.in_width) - 1))) * P.vectors + c);"
            )
            .expect("a string takes all");
        }
        for x in 0..self.reach() {
            writeln!(
                body,
                "let v{x} = select(V(0.0), normal_x(r{x}, c), \
                 column + {x} >= 0 && column + {x} < i32(G.in_width));"
            )
            .expect("a string takes all");
        }
    }

    /// Loads a row of the filter.
    fn weights(&self, body: &mut String, y: usize) {
        for x in 0..self.window.kernel {
            let tap = y * self.window.kernel + x;
            writeln!(body, "let w{x} = load_weight({tap}u * P.vectors + c);")
                .expect("a string takes all");
        }
    }

    /// Stores a thread's sums.
    fn finish(&self, body: &mut String, width: &str) {
        for own in 0..OWN {
            writeln!(
                body,
                "if (x0 + {own}u < G.{width}) {{ \
                 finish(sum{own}, c, (line * G.{width} + x0 + {own}u) * P.vectors + c); }}"
            )
            .expect("a string takes all");
        }
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
        let (gather, width, vectors) = (self.gather(), self.width(), self.vectors());
        let Window { kernel, stride, input: size, images, .. } = self.window;
        let finish = if accumulate { Finish::Accumulate } else { Finish::Nothing };
        // Which taps fall on output pixels depends on the first pixel's place, modulo the stride.
        let left = self.window.before(size.width) % stride;
        let name = format!("depthwise_backward_input_{kernel}");
        let builder = gather.bind(Builder::new(name, width)).params(&["vectors"]);
        let builder = builder.map("g", gradient.storage, width).read("weight", width);
        let builder = finish::bind(builder, &finish, target.storage, width);
        let mut body = format!(
            "let c = i % P.vectors; let rest = i / P.vectors;\n{}",
            self.place("in_height", "in_width")
        );
        for own in 0..OWN {
            writeln!(body, "var sum{own} = V(0.0);").expect("a string takes all");
        }
        // A thread's first pixel is a multiple of the stride, or the phase of its pixels varies.
        let aligned = OWN.is_multiple_of(stride);
        for y in 0..kernel {
            write!(
                body,
                "{{ let row = i32(y + G.top) - {y};\n\
                 if (row >= 0 && row % {stride} == 0 && row / {stride} < i32(G.out_height)) {{\n\
                 let line_at = (image * G.out_height + u32(row / {stride})) * G.out_width;\n"
            )
            .expect("a string takes all");
            self.weights(&mut body, y);
            if aligned {
                let (own, kernel, s) = (OWN as isize, kernel as isize, stride as isize);
                let left = left as isize;
                // Output pixels relative to that of the thread's first, taps in ascending order.
                let (low, high) = ((left - kernel + 1).div_euclid(s), (own - 1 + left) / s);
                writeln!(body, "let first = i32((x0 + G.left) / {s}u);")
                    .expect("a string takes all");
                // Places with the pixels and taps that they belong to.
                let places: Vec<(isize, Vec<(isize, isize)>)> = (low..=high)
                    .rev()
                    .map(|place| {
                        let pairs = (0..own).map(|own| (own, own + left - place * s));
                        (place, pairs.filter(|(_, tap)| (0..kernel).contains(tap)).collect())
                    })
                    .filter(|(_, pairs): &(_, Vec<_>)| !pairs.is_empty())
                    .collect();
                for (number, (place, _)) in places.iter().enumerate() {
                    write!(
                        body,
                        "let x{number} = first + ({place});\n\
                         let r{number} = load_g((line_at + \
                         u32(clamp(x{number}, 0, i32(G.out_width) - 1))) * P.vectors + c);\n"
                    )
                    .expect("a string takes all");
                }
                for (number, (_, pairs)) in places.iter().enumerate() {
                    writeln!(
                        body,
                        "let v{number} = select(V(0.0), r{number}, \
                         x{number} >= 0 && x{number} < i32(G.out_width));"
                    )
                    .expect("a string takes all");
                    for (own, tap) in pairs {
                        writeln!(body, "sum{own} = fma(v{number}, w{tap}, sum{own});")
                            .expect("a string takes all");
                    }
                }
            } else {
                for own in 0..OWN {
                    for tap in 0..kernel {
                        writeln!(
                            body,
                            "{{ let x = i32(x0 + {own}u + G.left) - {tap}; \
                             if (x >= 0 && x % {stride} == 0 \
                             && x / {stride} < i32(G.out_width)) {{\n\
                             sum{own} = fma(load_g((line_at + u32(x / {stride})) * P.vectors + c), \
                             w{tap}, sum{own}); }} }}"
                        )
                        .expect("a string takes all");
                    }
                }
            }
            body.push_str("} }\n");
        }
        self.finish(&mut body, "in_width");
        let (mut slices, mut params) =
            (vec![("g", gradient.slice), ("weight", weight)], gather.params());
        params.push(("vectors", number(vectors)));
        finish::give(&finish, target, number(vectors), &mut slices, &mut params);
        let count = images * size.height * Self::groups(size.width) * vectors;
        recorder.each(builder.each(&self.code(&body)), &slices, &params, count);
    }

    /// Groups of output pixels over which the gradient of the weights is summed up.
    fn blocks(&self) -> Blocks {
        let Window { images, output, .. } = self.window;
        Blocks::of(images * output.height * Self::groups(output.width))
    }

    /// Elements of f32 that [`Self::backward_weight`] takes meanwhile.
    pub fn scratch(window: Window) -> usize {
        let depthwise = Self { window, has_constants: false };
        depthwise.blocks().count() * window.taps() * window.input.channels
    }

    /// The gradient of the weights. A workgroup computes a row of the filter.
    pub fn backward_weight(
        &self,
        recorder: &mut Recorder,
        input: &Input,
        gradient: Values,
        scratch: Slice,
        arguments: Slice,
        target: Slice,
    ) {
        let (gather, width, vectors) = (self.gather(), self.width(), self.vectors());
        let Window { kernel, stride, .. } = self.window;
        let builder =
            gather.bind(Builder::new(format!("depthwise_backward_weight_{kernel}"), width));
        let builder = input::bind(builder, input, width).map("g", gradient.storage, width);
        let mut terms = format!(
            "let rest = p;\n{}let row = i32(y * {stride}u + plane) - i32(G.top);\n\
             let column = i32(x0 * {stride}u) - i32(G.left);\n\
             if (row >= 0 && row < i32(G.in_height)) {{\n\
             let line_at = (image * G.in_height + u32(row)) * G.in_width;\n",
            self.place("out_height", "out_width")
        );
        for own in 0..OWN {
            writeln!(
                terms,
                "let h{own} = load_g((line * G.out_width + min(x0 + {own}u, G.out_width - 1u)) \
                 * P.vectors + c);"
            )
            .expect("a string takes all");
        }
        self.inputs(&mut terms);
        for own in 0..OWN {
            writeln!(terms, "let g{own} = select(V(0.0), h{own}, x0 + {own}u < G.out_width);")
                .expect("a string takes all");
            for tap in 0..kernel {
                writeln!(terms, "s{tap} = fma(v{}, g{own}, s{tap});", own * stride + tap)
                    .expect("a string takes all");
            }
        }
        terms.push_str("}\n");
        let (blocks, channels) = (self.blocks(), self.window.input.channels);
        let planes = Planes { count: kernel, sums: kernel };
        let terms = self.code(&terms);
        let storage = Storage::F32;
        let shader = columns::sums(builder, vectors, planes, storage, width, &terms, Into::Partial);
        let (mut slices, mut params) =
            (vec![("g", gradient.slice), ("y", scratch)], gather.params());
        input::give(input, width, &mut slices, &mut params);
        columns::record(recorder, shader, planes, &slices, &params, blocks, vectors);
        let stride = [self.window.taps() * channels, 0];
        columns::total(recorder, scratch, blocks.count(), stride, arguments, target);
    }
}
