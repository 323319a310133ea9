//! JPEGs at a half, a quarter or an eighth of their size, without computing the pixels in between.
//!
//! A block of 8 x 8 pixels is stored as 64 frequencies. Its lowest N x N of them are the same block in N x N pixels (the reduced
//! inverse transform of libjpeg's `scale_num`), so that a picture many times as large as the network's input need not be computed
//! whole to be shrunk again. Colours that are stored at half the resolution are transformed at twice the size and need no
//! enlarging.
//!
//! Only what cameras and phones write is done here: baseline, Huffman-coded, 8 bits, one scan, grey or YCbCr with whole or halved
//! colours. For anything else, and for anything odd in the data, [`decode`] gives `None`, and the whole picture is decoded by the
//! general decoder, which says what is wrong.

mod entropy;
mod header;
mod transform;

use crate::RgbImage;
use entropy::{Bits, Block};
use header::{Component, Header};

/// Side of a block as it is stored.
const BLOCK: usize = 8;

/// The picture as it is stored (not yet turned), its sides divided by `reduction` (2, 4 or 8) and rounded up.
pub fn decode(bytes: &[u8], reduction: u32) -> Option<RgbImage> {
    let header = Header::read(bytes)?;
    let side = BLOCK / reduction as usize;
    let mut planes: Vec<Plane> =
        header.components.iter().map(|component| Plane::new(&header, component, side)).collect::<Option<_>>()?;
    let [width, height] = [header.width, header.height].map(|pixels| pixels.div_ceil(reduction as usize));
    let mut pixels = vec![0; width * height * 3];
    let mut scan = Scan { bits: Bits::new(header.scan), block: Block::new(), predictions: [0; 3], unit: 0 };
    let mut buffers = [const { Vec::new() }; 3];
    // A row of groups of blocks at a time, which stays in the cache.
    for lines in pixels.chunks_mut(width * 3 * header.most[1] * side) {
        scan.read_row(&header, &mut planes)?;
        colours(&header, &planes, width, lines, &mut buffers);
    }
    // Zeros that were read beyond the data's end are no picture.
    scan.bits.is_within().then_some(RgbImage { width: width as u32, height: height as u32, pixels })
}

/// One component's pixels of a row of groups of blocks.
struct Plane {
    /// Pixels of a block's side.
    side: usize,
    /// Pixels of this plane for each of the picture, across and down: 2 where two components' resolutions differ in that
    /// direction alone.
    excess: [usize; 2],
    stride: usize,
    pixels: Vec<u8>,
}

impl Plane {
    fn new(header: &Header, component: &Component, side: usize) -> Option<Self> {
        // How often the component's samples fit into the picture's, across and down.
        let [across, down] = [header.most[0] / component.factors[0], header.most[1] / component.factors[1]];
        let larger = across.max(down);
        let block = side * larger;
        if block > BLOCK {
            return None;
        }
        let stride = header.units[0] * component.factors[0] * block;
        let rows = component.factors[1] * block;
        Some(Self { side: block, excess: [larger / across, larger / down], stride, pixels: vec![0; stride.checked_mul(rows)?] })
    }

    /// A row of the picture, `width` pixels long.
    fn row<'a>(&'a self, y: usize, width: usize, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let line = |y: usize| &self.pixels[y * self.stride..][..self.stride];
        match self.excess {
            [1, 1] => &line(y)[..width],
            [1, _] => {
                let pairs = line(2 * y).iter().zip(line(2 * y + 1));
                buffer.clear();
                buffer.extend(pairs.take(width).map(|(&above, &below)| mean(above, below)));
                buffer
            }
            _ => {
                buffer.clear();
                buffer.extend(line(y).as_chunks::<2>().0.iter().take(width).map(|&[left, right]| mean(left, right)));
                buffer
            }
        }
    }
}

fn mean(one: u8, other: u8) -> u8 {
    (u16::from(one) + u16::from(other)).div_ceil(2) as u8
}

/// How far the scan was read.
struct Scan<'a> {
    bits: Bits<'a>,
    block: Block,
    /// The last mean of each component, from which the next one differs.
    predictions: [i32; 3],
    /// Groups of blocks that were read.
    unit: usize,
}

impl Scan<'_> {
    /// Decodes a row of groups of blocks.
    fn read_row(&mut self, header: &Header, planes: &mut [Plane]) -> Option<()> {
        for column in 0..header.units[0] {
            if header.restart_interval > 0 && self.unit > 0 && self.unit.is_multiple_of(header.restart_interval) {
                self.bits.restart()?;
                self.predictions = [0; 3];
            }
            self.unit += 1;
            for ((component, plane), prediction) in header.components.iter().zip(planes.iter_mut()).zip(&mut self.predictions) {
                let [across, down] = component.factors;
                for part in 0..across * down {
                    self.block.read(&mut self.bits, component, plane.side, prediction)?;
                    let [x, y] = [column * across + part % across, part / across];
                    let start = y * plane.side * plane.stride + x * plane.side;
                    transform::write(&mut self.block, plane.side, &mut plane.pixels[start..], plane.stride);
                }
            }
        }
        Some(())
    }
}

/// Lines of `[width, 3]` from the planes.
fn colours(header: &Header, planes: &[Plane], width: usize, lines: &mut [u8], buffers: &mut [Vec<u8>; 3]) {
    let [first, second, third] = buffers;
    for (y, line) in lines.chunks_exact_mut(width * 3).enumerate() {
        let line = line.as_chunks_mut::<3>().0;
        let luma = planes[0].row(y, width, first);
        match planes {
            [_, blue, red] if header.is_ycbcr => {
                let (blue, red) = (blue.row(y, width, second), red.row(y, width, third));
                for (((pixel, &luma), &blue), &red) in line.iter_mut().zip(luma).zip(blue).zip(red) {
                    *pixel = rgb(luma, blue, red);
                }
            }
            [_, green, blue] => {
                let (green, blue) = (green.row(y, width, second), blue.row(y, width, third));
                for (((pixel, &red), &green), &blue) in line.iter_mut().zip(luma).zip(green).zip(blue) {
                    *pixel = [red, green, blue];
                }
            }
            _ => line.iter_mut().zip(luma).for_each(|(pixel, &level)| *pixel = [level; 3]),
        }
    }
}

/// JFIF's formula in 16 binary places, rounded.
fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let luma = (i32::from(luma) << 16) + (1 << 15);
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    [luma + 91_881 * red, luma - 22_554 * blue - 46_802 * red, luma + 116_130 * blue]
        .map(|value| (value >> 16).clamp(0, 255) as u8)
}
