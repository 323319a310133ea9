//! How a product's operands lie in maps and weights: the code that finds and loads them.

use super::input::{self, Input};
use super::window::{NAMES, Window};
use crate::record::number;
use crate::shader::{Builder, width_of};
use std::fmt::Write;

/// The operands of a convolution's products.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gather {
    pub window: Window,
    /// Whether sizes are constants of the shader, not parameters.
    pub is_constant: bool,
    /// Whether operands are loaded as eight halves.
    pub is_packed: bool,
    /// Elements of the pieces that vectors of halves are made of, if input channels do not
    /// fill them.
    pub piece: Option<usize>,
}

/// The sizes beside those of the window.
const SIZES: [&str; 6] = ["images", "groups", "inputs", "outputs", "all_inputs", "all_outputs"];

/// The places of pixels and taps. Sizes are members of `G`.
const PLACES: &str = "
struct Pixel { image: u32, y: i32, x: i32 }
fn pixel_of(at: u32, height: u32, width: u32) -> Pixel {
    let image = at / (height * width);
    let rest = at - image * (height * width);
    let y = rest / width;
    return Pixel(image, i32(y), i32(rest - y * width));
}
struct Tap { y: i32, x: i32, channel: u32 }
fn tap_of(at: u32, channels: u32) -> Tap {
    let tap = at / channels;
    let y = tap / G.kernel;
    return Tap(i32(y), i32(tap - y * G.kernel), at - tap * channels);
}
// Where a tap of an output pixel lies in the input, in elements; less than 0 outside.
fn input_at(out: Pixel, tap: Tap, group: u32) -> i32 {
    let y = out.y * i32(G.stride) + tap.y - i32(G.top);
    let x = out.x * i32(G.stride) + tap.x - i32(G.left);
    if (y < 0 || x < 0 || y >= i32(G.in_height) || x >= i32(G.in_width)) { return -1; }
    let pixel = (out.image * G.in_height + u32(y)) * G.in_width + u32(x);
    return i32(pixel * G.all_inputs + group * G.inputs + tap.channel);
}";

/// The pixels and taps of the input's gradient: own pixels are those that the same taps read.
const PHASES: &str = "
struct Phase { y: u32, x: u32, tap_y: u32, tap_x: u32, taps_x: u32, rows: u32, columns: u32 }
var<private> phase: Phase;
fn own_pixel(row: u32) -> Pixel {
    let own = pixel_of(row, phase.rows, phase.columns);
    let stride = i32(G.stride);
    return Pixel(own.image, own.y * stride + i32(phase.y), own.x * stride + i32(phase.x));
}
fn pixel_number(own: Pixel) -> u32 {
    return (own.image * G.in_height + u32(own.y)) * G.in_width + u32(own.x);
}
fn own_tap(at: u32) -> Tap {
    let tap = at / G.outputs;
    let y = tap / phase.taps_x;
    let x = tap - y * phase.taps_x;
    return Tap(i32(phase.tap_y + y * G.stride), i32(phase.tap_x + x * G.stride),
        at - tap * G.outputs);
}";

/// As [`PHASES`] without a stride, where all taps read all pixels.
const ONE_PHASE: &str = "
fn own_pixel(row: u32) -> Pixel { return pixel_of(row, G.in_height, G.in_width); }
fn own_tap(at: u32) -> Tap { return tap_of(at, G.outputs); }";

/// Where the weights of a tap begin, and where the output pixel lies that reads an input pixel by a
/// tap, in elements; less than 0 outside.
const OUTPUT: &str = "
fn turned_at(tap: Tap, group: u32) -> i32 {
    let place = u32(tap.y) * G.kernel + u32(tap.x);
    let out = group * G.outputs + tap.channel;
    return i32((out * G.kernel * G.kernel + place) * G.inputs);
}
fn output_at(own: Pixel, tap: Tap, group: u32) -> i32 {
    let stride = i32(G.stride);
    let y = own.y + i32(G.top) - tap.y;
    let x = own.x + i32(G.left) - tap.x;
    let row = y / stride; let column = x / stride;
    if (y < 0 || x < 0 || row >= i32(G.out_height) || column >= i32(G.out_width)) { return -1; }
    let pixel = (own.image * G.out_height + u32(row)) * G.out_width + u32(column);
    return i32(pixel * G.all_outputs + group * G.outputs + tap.channel);
}";

/// The codes of an [`super::side::Operand`].
pub(super) struct Loading {
    pub at: String,
    pub load: String,
    pub value: String,
}

impl Gather {
    /// Whether a row of pixels is a row of a matrix as it is.
    fn is_point(&self) -> bool {
        self.window.is_point() && self.piece.is_none()
    }

    /// Elements that are loaded together along `channels`.
    pub fn width(&self, channels: usize) -> usize {
        if self.is_packed { 8 } else { width_of(channels) }
    }

    /// A size of the convolution as code.
    pub fn size(&self, name: &str) -> String {
        format!("{}.{name}", if self.is_constant { "G" } else { "P" })
    }

    /// Code with the sizes, which it names as members of `G`.
    pub fn code(&self, text: &str) -> String {
        if self.is_constant { text.to_owned() } else { text.replace("G.", "P.") }
    }

    fn sizes(&self) -> Vec<(&'static str, u32)> {
        let Window { images, input, output, groups, .. } = self.window;
        let mut sizes = self.window.params().to_vec();
        let [all_inputs, all_outputs] = [input.channels, output.channels];
        let own =
            [images, groups, all_inputs / groups, all_outputs / groups, all_inputs, all_outputs];
        sizes.extend(SIZES.into_iter().zip(own.map(number)));
        sizes
    }

    /// The values of the shader's parameters.
    pub fn params(&self) -> Vec<(&'static str, u32)> {
        if self.is_constant {
            return vec![("groups", number(self.window.groups))];
        }
        self.sizes()
    }

    /// Adds the sizes and places.
    pub fn bind(&self, builder: Builder) -> Builder {
        if !self.is_constant {
            return builder.params(&NAMES).params(&SIZES).code(&self.code(PLACES));
        }
        let (mut members, mut values) = (String::new(), String::new());
        for (name, value) in self.sizes() {
            write!(members, "{name}: u32, ").expect("a string takes all");
            write!(values, "{value}u, ").expect("a string takes all");
        }
        builder
            .params(&["groups"])
            .code(&format!("struct Sizes {{ {members} }}\nconst G = Sizes({values});"))
            .code(PLACES)
    }

    /// Adds the input.
    pub fn bind_input(&self, builder: Builder, input: &Input, width: usize) -> Builder {
        if self.is_packed && self.piece.is_none() {
            return input::bind_halves(builder, input);
        }
        input::bind(builder, input, self.piece.unwrap_or(width))
    }

    /// A thread's row of the forward product: an output pixel.
    pub fn output_pixel(&self) -> (&'static str, &'static str) {
        match (self.is_point(), self.is_constant) {
            (true, _) => ("u32", "row"),
            (false, true) => ("Pixel", "pixel_of(row, G.out_height, G.out_width)"),
            (false, false) => ("Pixel", "pixel_of(row, P.out_height, P.out_width)"),
        }
    }

    /// Eight halves in pieces: `element` and `channel` give the place and the channel of the piece
    /// that begins at the number `e`. All are loaded without branches, and pieces outside become
    /// zero afterwards.
    fn pieces(
        &self,
        length: usize,
        [limit, first]: [&str; 2],
        name: &str,
        element: &str,
        channel: Option<&str>,
    ) -> Loading {
        let each = |code: &dyn Fn(&str) -> String| -> String {
            let piece = |number: usize| {
                let half = ["lo", "hi"][number * length / 4];
                let part =
                    if length == 4 { half.to_owned() } else { format!("{half}[{}]", number % 4) };
                format!(
                    "{{ let e = {first} + {}u;\n\
                     let at = select(-1, {element}, e < {limit}); {} }}\n",
                    number * length,
                    code(&part)
                )
            };
            (0..8 / length).map(piece).collect()
        };
        let [half, float] = if length == 4 { ["vec4<f16>", "vec4<f32>"] } else { ["f16", "f32"] };
        let load =
            each(&|part| format!("v.{part} = {half}(load_{name}(u32(max(at, 0)) / {length}u));"));
        let value = each(&|part| {
            let value = match channel {
                Some(channel) => {
                    format!("{half}(normal_x({float}(v.{part}), ({channel}) / {length}u))")
                }
                None => format!("v.{part}"),
            };
            format!("w.{part} = select({half}(), {value}, at >= 0);")
        });
        Loading {
            at: "return 0;".to_owned(),
            load: self.code(&format!("var v = Eight();\n{load}return v;")),
            value: self.code(&format!("var w = v;\n{value}return w;")),
        }
    }

    /// A vector of a buffer at an element, and its value.
    fn vector_at(&self, width: usize, name: &str, at: &str, value: &str) -> Loading {
        Loading {
            at: self.code(&format!("let element = {at};\nreturn element >> {}u;", width.ilog2())),
            load: format!("return load_{name}(at);"),
            value: self.code(&format!("return {value};")),
        }
    }

    /// The input's vector at a row and a depth of the forward product.
    pub fn input(&self, width: usize) -> Loading {
        if let Some(piece) = self.piece {
            let element = "input_at(own, tap_of(e, G.inputs), group)";
            let channel = Some("group * G.inputs + tap_of(e, G.inputs).channel");
            return self.pieces(piece, ["P.depth", "depth"], "x", element, channel);
        }
        let (at, channel) = if self.is_point() {
            ("i32(own * G.all_inputs + group * G.inputs + depth)", "depth")
        } else {
            ("input_at(own, tap_of(depth, G.inputs), group)", "tap_of(depth, G.inputs).channel")
        };
        let value = format!("normal_x(v, (group * G.inputs + {channel}) / {width}u)");
        self.vector_at(width, "x", at, &value)
    }

    /// The weights' vector at a row and a depth of the forward product.
    pub fn weight(&self, width: usize) -> Loading {
        if let Some(piece) = self.piece {
            let element = "i32((group * G.outputs + own) * P.depth + e)";
            return self.pieces(piece, ["P.depth", "depth"], "weight", element, None);
        }
        let at = "i32((group * G.outputs + own) * P.depth + depth)";
        self.vector_at(width, "weight", at, "v")
    }

    /// Adds the pixels and taps of the input's gradient.
    pub fn bind_phases(&self, builder: Builder) -> Builder {
        if self.is_point() {
            return builder;
        }
        let phases = if self.window.stride == 1 { ONE_PHASE } else { PHASES };
        builder.code(&self.code(phases)).code(&self.code(OUTPUT))
    }

    /// The rows and the depth of a part of the input's gradient.
    pub fn phases(&self) -> String {
        if self.window.stride == 1 {
            return super::tile::PARTS.to_owned();
        }
        // In place, because matrix units need control flow that naga sees to be uniform.
        self.code(
            "let phase_y = part / G.stride; let phase_x = part % G.stride;\n\
             let tap_y = (phase_y + G.top) % G.stride; let tap_x = (phase_x + G.left) % G.stride;\n\
             let taps_y = (max(G.kernel, tap_y) - tap_y + G.stride - 1u) / G.stride;\n\
             let taps_x = (max(G.kernel, tap_x) - tap_x + G.stride - 1u) / G.stride;\n\
             let rows_y = (G.in_height + G.stride - 1u - phase_y) / G.stride;\n\
             let rows_x = (G.in_width + G.stride - 1u - phase_x) / G.stride;\n\
             phase = Phase(phase_y, phase_x, tap_y, tap_x, taps_x, rows_y, rows_x);\n\
             let rows = G.images * rows_y * rows_x;\n\
             let start = 0u; let end = taps_y * taps_x * G.outputs;",
        )
    }

    /// A thread's row of the input's gradient: an input pixel.
    pub fn input_pixel(&self) -> (&'static str, &'static str) {
        if self.is_point() { ("u32", "row") } else { ("Pixel", "own_pixel(row)") }
    }

    /// The number of the input pixel of a `row`.
    pub fn input_place(&self) -> String {
        if self.window.stride == 1 {
            return "row".to_owned();
        }
        self.code("pixel_number(own_pixel(row))")
    }

    /// The vector of the output's gradient at a row and a depth of the input's.
    pub fn gradient(&self, width: usize) -> Loading {
        let at = if self.is_point() {
            "i32(own * G.all_outputs + group * G.outputs + depth)"
        } else {
            "output_at(own, own_tap(depth), group)"
        };
        self.vector_at(width, "g", at, "v")
    }

    /// The vector of the output's gradient at a row, which is a channel, and a depth, a pixel.
    pub fn turned_gradient(&self, width: usize) -> Loading {
        let at = "i32(depth * G.all_outputs + group * G.outputs + own)";
        self.vector_at(width, "g", at, "v")
    }

    /// The weights' vector at a row, which is an input channel, and a depth.
    pub fn turned_weight(&self, width: usize) -> Loading {
        let at = if self.is_point() {
            "i32((group * G.outputs + depth) * G.inputs + own)"
        } else {
            "turned_at(own_tap(depth), group) + i32(own)"
        };
        self.vector_at(width, "weight", at, "v")
    }

    /// A thread's row of the weights' gradient: a tap and an input channel.
    pub fn tap(&self) -> (&'static str, &'static str) {
        match (self.is_point() || self.piece.is_some(), self.is_constant) {
            (true, _) => ("u32", "row"),
            (false, true) => ("Tap", "tap_of(row, G.inputs)"),
            (false, false) => ("Tap", "tap_of(row, P.inputs)"),
        }
    }

    /// The input's vector at a row and a depth of the weights' gradient.
    pub fn turned_input(&self, width: usize) -> Loading {
        let pixel = "pixel_of(depth, G.out_height, G.out_width)";
        if let Some(piece) = self.piece {
            let element = format!("input_at({pixel}, tap_of(e, G.inputs), group)");
            let channel = Some("group * G.inputs + tap_of(e, G.inputs).channel");
            return self.pieces(piece, ["P.columns", "own"], "x", &element, channel);
        }
        let (at, channel) = if self.is_point() {
            ("i32(depth * G.all_inputs + group * G.inputs + own)".to_owned(), "own")
        } else {
            (format!("input_at({pixel}, own, group)"), "own.channel")
        };
        let value = format!("normal_x(v, (group * G.inputs + {channel}) / {width}u)");
        self.vector_at(width, "x", &at, &value)
    }
}
