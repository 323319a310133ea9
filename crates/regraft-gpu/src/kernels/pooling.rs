//! Max and average pooling over windows.

use super::window::{NAMES, Window};
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Builder, Storage, width_of};

fn sizes(window: &Window) -> (usize, usize) {
    let width = width_of(window.input.channels);
    (width, window.input.channels / width)
}

/// Words that the places of maxima take: a byte each if a thread has four, else a word.
pub(crate) fn places(window: &Window) -> usize {
    window.output_pixels() * sizes(window).1
}

/// Where the window of output vector `i` begins in the input.
const OUTPUT: &str = "
let c = i % P.vectors; let pixel = i / P.vectors;
let column = i32(pixel % P.out_width * P.stride) - i32(P.left);
let line = pixel / P.out_width;
let row = i32(line % P.out_height * P.stride) - i32(P.top);
let image = line / P.out_height;
let kernel = i32(P.kernel);
";

/// The input vector `i`, with padding before it.
const INPUT: &str = "
let c = i % P.vectors; let pixel = i / P.vectors; let stride = i32(P.stride);
let column = i32(pixel % P.in_width + P.left);
let line = pixel / P.in_width;
let row = i32(line % P.in_height + P.top);
let image = line / P.in_height;
let kernel = i32(P.kernel);
";

/// Goes over the outputs whose windows contain the input: `at` is each one's place.
fn over_outputs(body: &str) -> String {
    format!(
        "{INPUT}
        var sum = V(0.0);
        for (var y = row % stride; y < kernel; y += stride) {{
            let from_row = (row - y) / stride;
            if (row < y || from_row >= i32(P.out_height)) {{ continue; }}
            for (var x = column % stride; x < kernel; x += stride) {{
                let from_column = (column - x) / stride;
                if (column < x || from_column >= i32(P.out_width)) {{ continue; }}
                let at = ((image * P.out_height + u32(from_row)) * P.out_width
                    + u32(from_column)) * P.vectors + c;
                {body}
            }}
        }}"
    )
}

/// Max pooling, which saves the places of maxima within their windows if they are asked for: the
/// first in reading order where several are equal, as PyTorch does.
pub(crate) fn max_forward(
    recorder: &mut Recorder,
    window: &Window,
    input: Values,
    output: Values,
    places: Option<Slice>,
) {
    let (width, vectors) = sizes(window);
    let mut builder = Builder::new("max_forward", width)
        .map("x", input.storage, width)
        .map("y", output.storage, width)
        .params(&NAMES)
        .params(&["vectors"]);
    let mut slices = vec![("x", input.slice), ("y", output.slice)];
    let mut save = "";
    if let Some(places) = places {
        builder = builder.map("places", Storage::U32, 1);
        slices.push(("places", places));
        save = if width == 4 {
            "store_places(i, tap.x | (tap.y << 8u) | (tap.z << 16u) | (tap.w << 24u));"
        } else {
            "store_places(i, tap);"
        };
    }
    // A NaN wins, as in PyTorch, so that a diverged training shows.
    let body = format!(
        "{OUTPUT}
        var best = V(bitcast<f32>(0xff800000u + P.zero)); var tap = U(0u);
        for (var y = 0; y < kernel; y++) {{
            if (row + y < 0 || row + y >= i32(P.in_height)) {{ continue; }}
            for (var x = 0; x < kernel; x++) {{
                if (column + x < 0 || column + x >= i32(P.in_width)) {{ continue; }}
                let v = load_x(((image * P.in_height + u32(row + y)) * P.in_width
                    + u32(column + x)) * P.vectors + c);
                let is_nan = (bitcast<U>(v) & U(0x7fffffffu)) > U(0x7f800000u);
                let wins = (v > best) | is_nan;
                best = select(best, v, wins);
                tap = select(tap, U(u32(y * kernel + x)), wins);
            }}
        }}
        store_y(i, best);
        {save}"
    );
    let mut params = window.params().to_vec();
    params.extend([("vectors", number(vectors)), ("zero", 0)]);
    let count = window.output_pixels() * vectors;
    recorder.each(builder.params(&["zero"]).each(&body), &slices, &params, count);
}

/// The gradient of max pooling's input: each output's goes to its maximum's place.
pub(crate) fn max_backward(
    recorder: &mut Recorder,
    window: &Window,
    gradient: Values,
    places: Slice,
    (target, accumulate): (Values, bool),
) {
    let (width, vectors) = sizes(window);
    let saved = if width == 4 {
        "let word = load_places(at);
         let tap = vec4<u32>(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u);"
    } else {
        "let tap = load_places(at);"
    };
    let store = if accumulate { "store_y(i, load_y(i) + sum);" } else { "store_y(i, sum);" };
    let body = over_outputs(&format!(
        "{saved}\nsum += select(V(0.0), load_g(at), tap == U(u32(y * kernel + x)));"
    ));
    let shader = Builder::new("max_backward", width)
        .map("g", gradient.storage, width)
        .map("places", Storage::U32, 1)
        .map("y", target.storage, width)
        .params(&NAMES)
        .params(&["vectors"])
        .each(&format!("{body}\n{store}"));
    let mut params = window.params().to_vec();
    params.push(("vectors", number(vectors)));
    recorder.each(
        shader,
        &[("g", gradient.slice), ("places", places), ("y", target.slice)],
        &params,
        window.input_pixels() * vectors,
    );
}

/// The share of a window that lies within the map: one pixel's, or zero outside altogether.
const SHARE: &str = "
fn inside(start: i32, kernel: i32, length: i32) -> i32 {
    return max(min(start + kernel, length) - max(start, 0), 0);
}
fn share(row: i32, column: i32) -> f32 {
    let kernel = i32(P.kernel);
    let pixels = inside(row, kernel, i32(P.in_height)) * inside(column, kernel, i32(P.in_width));
    return 1.0 / f32(max(pixels, 1));
}";

/// Average pooling. Pixels outside the image count neither in the sum nor in the divisor.
pub(crate) fn average_forward(
    recorder: &mut Recorder,
    window: &Window,
    input: Values,
    output: Values,
) {
    let (width, vectors) = sizes(window);
    let body = format!(
        "{OUTPUT}
        var sum = V(0.0);
        for (var y = 0; y < kernel; y++) {{
            if (row + y < 0 || row + y >= i32(P.in_height)) {{ continue; }}
            for (var x = 0; x < kernel; x++) {{
                if (column + x < 0 || column + x >= i32(P.in_width)) {{ continue; }}
                sum += load_x(((image * P.in_height + u32(row + y)) * P.in_width
                    + u32(column + x)) * P.vectors + c);
            }}
        }}
        store_y(i, sum * share(row, column));"
    );
    let shader = Builder::new("average_forward", width)
        .map("x", input.storage, width)
        .map("y", output.storage, width)
        .params(&NAMES)
        .params(&["vectors"])
        .code(SHARE)
        .each(&body);
    let mut params = window.params().to_vec();
    params.push(("vectors", number(vectors)));
    let slices = [("x", input.slice), ("y", output.slice)];
    recorder.each(shader, &slices, &params, window.output_pixels() * vectors);
}

/// The gradient of [`average_forward`]'s input.
pub(crate) fn average_backward(
    recorder: &mut Recorder,
    window: &Window,
    gradient: Values,
    (target, accumulate): (Values, bool),
) {
    let (width, vectors) = sizes(window);
    let store = if accumulate { "store_y(i, load_y(i) + sum);" } else { "store_y(i, sum);" };
    let body = over_outputs(
        "sum += load_g(at) * share(from_row * stride - i32(P.top), \
         from_column * stride - i32(P.left));",
    );
    let shader = Builder::new("average_backward", width)
        .map("g", gradient.storage, width)
        .map("y", target.storage, width)
        .params(&NAMES)
        .params(&["vectors"])
        .code(SHARE)
        .each(&format!("{body}\n{store}"));
    let mut params = window.params().to_vec();
    params.push(("vectors", number(vectors)));
    let slices = [("g", gradient.slice), ("y", target.slice)];
    recorder.each(shader, &slices, &params, window.input_pixels() * vectors);
}
