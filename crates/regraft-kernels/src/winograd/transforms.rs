//! The transforms between pixels, or filters, and the frequencies of a tile: those along one side
//! of a [`Tile`], down and then across.

use super::lanes::{LANES, Lanes, ZEROS, plus, read, write};
use super::tile::Tile;
use super::tiling::Tiling;
use crate::element::Element;
use crate::isa::for_each_isa;
use crate::shape::ConvolutionShape;

/// Most frequencies along a side.
const MAX_SIDE: usize = 6;

/// Images of which single pixels are read, with zeros outside.
#[derive(Clone, Copy)]
struct Map<'a, E> {
    /// One image, `[height, width, channels]`.
    values: &'a [E],
    height: usize,
    width: usize,
    channels: usize,
}

impl<E: Element> Map<'_, E> {
    /// Sixteen channels of a pixel. A position before the first one has wrapped around and is
    /// outside too.
    #[inline(always)]
    fn pixel(&self, row: usize, column: usize, channel: usize) -> Lanes {
        if row < self.height && column < self.width {
            read(self.values, (row * self.width + column) * self.channels + channel)
        } else {
            ZEROS
        }
    }

    /// Fills `pixels` with a column that begins at a pixel.
    #[inline(always)]
    fn column(&self, pixels: &mut [Lanes], row: usize, column: usize, channel: usize) {
        for (down, pixel) in pixels.iter_mut().enumerate() {
            *pixel = self.pixel(row.wrapping_add(down), column, channel);
        }
    }
}

for_each_isa! {
    pub fn transform_input<T: Tile, E: Element, O: Element>(
        shape: &ConvolutionShape, tiling: Tiling, input: &[E], row: usize, target: &mut [O],
            frequency_stride: usize, group: Option<usize>
    ) => transform_input_body
}
/// Transforms row `row` of tiles to `target[frequency][tile][channel]`: all frequencies, or those
/// of row `group` only.
#[inline(always)]
fn transform_input_body<const FUSED: bool, T: Tile, E: Element, O: Element>(
    shape: &ConvolutionShape,
    tiling: Tiling,
    input: &[E],
    row: usize,
    target: &mut [O],
    frequency_stride: usize,
    group: Option<usize>,
) {
    let channels = shape.in_channels;
    let (image, tile_row) = (row / tiling.down, row % tiling.down);
    let length = shape.in_height * shape.in_width * channels;
    let map = Map {
        values: &input[image * length..][..length],
        height: shape.in_height,
        width: shape.in_width,
        channels,
    };
    let top = (T::PIXELS * tile_row).wrapping_sub(shape.padding_top);
    for tile in 0..tiling.across {
        let left = (T::PIXELS * tile).wrapping_sub(shape.padding_left);
        for channel in (0..channels).step_by(LANES) {
            let at = tile * channels + channel;
            let mut pixels = T::Side::default();
            if let Some(group) = group {
                let mut side = T::Side::default();
                for across in 0..T::SIDE {
                    map.column(pixels.as_mut(), top, left.wrapping_add(across), channel);
                    side.as_mut()[across] = T::input_at::<FUSED>(group, &pixels);
                }
                write_side(target, 0, frequency_stride, at, T::input::<FUSED>(&side).as_ref());
            } else {
                let mut sides = [T::Side::default(); MAX_SIDE];
                for across in 0..T::SIDE {
                    map.column(pixels.as_mut(), top, left.wrapping_add(across), channel);
                    let column = T::input::<FUSED>(&pixels);
                    for (side, value) in sides.iter_mut().zip(column.as_ref()) {
                        side.as_mut()[across] = *value;
                    }
                }
                for (down, side) in sides.iter().enumerate().take(T::SIDE) {
                    let side = T::input::<FUSED>(side);
                    write_side(target, down * T::SIDE, frequency_stride, at, side.as_ref());
                }
            }
        }
    }
}

/// Writes a row of frequencies of sixteen channels.
#[inline(always)]
fn write_side<O: Element>(
    target: &mut [O],
    frequency: usize,
    stride: usize,
    at: usize,
    side: &[Lanes],
) {
    for (across, lanes) in side.iter().enumerate() {
        write(target, (frequency + across) * stride + at, lanes);
    }
}

for_each_isa! {
    pub fn transform_output<T: Tile>(
        shape: &ConvolutionShape, products: &[f32], frequency_stride: usize, pixels: &mut [f32],
            accumulate: bool)
        => transform_output_body
}
/// Transforms one row of tiles back to pixels.
#[inline(always)]
fn transform_output_body<const FUSED: bool, T: Tile>(
    shape: &ConvolutionShape,
    products: &[f32],
    frequency_stride: usize,
    pixels: &mut [f32],
    accumulate: bool,
) {
    let channels = shape.out_channels;
    let high = pixels.len() / (shape.out_width * channels);
    for tile in 0..shape.out_width.div_ceil(T::PIXELS) {
        let wide = (shape.out_width - T::PIXELS * tile).min(T::PIXELS);
        for channel in (0..channels).step_by(LANES) {
            let at = tile * channels + channel;
            let mut rows = [T::Side::default(); MAX_SIDE];
            let mut side = T::Side::default();
            for across in 0..T::SIDE {
                for (down, value) in side.as_mut().iter_mut().enumerate() {
                    *value = read(products, (down * T::SIDE + across) * frequency_stride + at);
                }
                let column = T::output::<FUSED>(&side);
                for (row, value) in rows.iter_mut().zip(column.as_ref()) {
                    row.as_mut()[across] = *value;
                }
            }
            for (down, row) in rows.iter().enumerate().take(T::PIXELS.min(high)) {
                let row = T::output::<FUSED>(row);
                for (across, values) in row.as_ref().iter().enumerate().take(wide) {
                    let place = down * shape.out_width + T::PIXELS * tile + across;
                    let target = &mut pixels[place * channels + channel..][..LANES];
                    for (target, value) in target.iter_mut().zip(values) {
                        *target = if accumulate { *target + value } else { *value };
                    }
                }
            }
        }
    }
}

for_each_isa! {
    pub fn transform_gradient<T: Tile, E: Element, O: Element>(
        shape: &ConvolutionShape, tiling: Tiling, gradient: &[E], row: usize, target: &mut [O],
            frequency_stride: usize, group: usize
    ) => transform_gradient_body
}
/// Transforms the output's gradient of one row of tiles with the transposed output transform: the
/// frequencies of row `group`.
#[inline(always)]
fn transform_gradient_body<const FUSED: bool, T: Tile, E: Element, O: Element>(
    shape: &ConvolutionShape,
    tiling: Tiling,
    gradient: &[E],
    row: usize,
    target: &mut [O],
    frequency_stride: usize,
    group: usize,
) {
    let channels = shape.out_channels;
    let (image, first_row) = (row / tiling.down, row % tiling.down * T::PIXELS);
    let length = shape.out_height * shape.out_width * channels;
    let map = Map {
        values: &gradient[image * length..][..length],
        height: shape.out_height,
        width: shape.out_width,
        channels,
    };
    for tile in 0..tiling.across {
        for channel in (0..channels).step_by(LANES) {
            let mut pixels = T::Row::default();
            let mut row = T::Row::default();
            for across in 0..T::PIXELS {
                map.column(pixels.as_mut(), first_row, T::PIXELS * tile + across, channel);
                row.as_mut()[across] = T::gradient_at::<FUSED>(group, &pixels);
            }
            let side = T::gradient::<FUSED>(&row);
            write_side(target, 0, frequency_stride, tile * channels + channel, side.as_ref());
        }
    }
}

for_each_isa! {
    pub fn transform_filter<T: Tile>(
        filter: &[f32], channels: usize, rotated: bool, target: &mut [f32]
    ) => transform_filter_body
}
/// Transforms one output channel's filter `[3, 3, channels]`, rotated by 180 degrees if `rotated`,
/// to `target[frequency][channel]`.
#[inline(always)]
fn transform_filter_body<const FUSED: bool, T: Tile>(
    filter: &[f32],
    channels: usize,
    rotated: bool,
    target: &mut [f32],
) {
    for channel in (0..channels).step_by(LANES) {
        let mut rows = [[ZEROS; 3]; MAX_SIDE];
        for across in 0..3 {
            let mut taps = [ZEROS; 3];
            for (down, tap) in taps.iter_mut().enumerate() {
                let place = 3 * down + across;
                let place = if rotated { 8 - place } else { place };
                *tap = read(filter, place * channels + channel);
            }
            let column = T::filter::<FUSED>(&taps);
            for (row, value) in rows.iter_mut().zip(column.as_ref()) {
                row[across] = *value;
            }
        }
        for (down, row) in rows.iter().enumerate().take(T::SIDE) {
            let side = T::filter::<FUSED>(row);
            write_side(target, down * T::SIDE, channels, channel, side.as_ref());
        }
    }
}

for_each_isa! {
    pub fn gather_filter<T: Tile>(
        partial: &[f32], slabs: usize, length: usize, start: usize, channels: usize,
            filter: &mut [f32])
        => gather_filter_body
}
/// One output channel's gradient: the parts' sums added in order, then the transposed filter
/// transform.
#[inline(always)]
fn gather_filter_body<const FUSED: bool, T: Tile>(
    partial: &[f32],
    slabs: usize,
    length: usize,
    start: usize,
    channels: usize,
    filter: &mut [f32],
) {
    for channel in (0..channels).step_by(LANES) {
        let mut rows = [T::Side::default(); 3];
        let mut side = T::Side::default();
        for across in 0..T::SIDE {
            for (down, value) in side.as_mut().iter_mut().enumerate() {
                let frequency = down * T::SIDE + across;
                let mut sum = ZEROS;
                for slab in 0..slabs {
                    let part = (slab * T::FREQUENCIES + frequency) * length + start + channel;
                    let part = read(partial, part);
                    sum = if slab == 0 { part } else { plus(&sum, &part) };
                }
                *value = sum;
            }
            let column = T::taps::<FUSED>(&side);
            for (row, value) in rows.iter_mut().zip(&column) {
                row.as_mut()[across] = *value;
            }
        }
        for (down, row) in rows.iter().enumerate() {
            for (across, tap) in T::taps::<FUSED>(row).iter().enumerate() {
                write(filter, (down * 3 + across) * channels + channel, tap);
            }
        }
    }
}
