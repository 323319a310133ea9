//! Converts the components' samples to RGB.

use regraft_kernels::jpeg::{colour, upsample};

use super::frame::{Component, Frame};
use super::planes::Plane;
use crate::decode::convert;

/// The meaning of the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    Grey,
    /// Luma, blue and red chroma.
    Ycc,
    Rgb,
    /// Four inks with 0 as full ink, as Adobe's files and therefore all files have them.
    Cmyk,
    /// Four inks with 255 as full ink, as in a TIFF.
    PlainCmyk,
    /// Three inks as luma and chroma, and black.
    Ycck,
}

impl Colours {
    /// Number of components for these colours.
    pub fn components(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Ycc | Self::Rgb => 3,
            Self::Cmyk | Self::PlainCmyk | Self::Ycck => 4,
        }
    }

    /// The colours by the number of components, Adobe's transform and the JFIF segment, decided as
    /// in libjpeg.
    pub fn of(frame: &Frame, adobe: Option<u8>, jfif: bool) -> Self {
        let identifiers = frame.components.iter().map(|component| component.identifier);
        match (frame.components.len(), adobe) {
            (1, _) => Self::Grey,
            (3, _) if jfif => Self::Ycc,
            (3, Some(0)) => Self::Rgb,
            (3, None) if identifiers.eq(*b"RGB") => Self::Rgb,
            (3, _) => Self::Ycc,
            (_, None | Some(0)) => Self::Cmyk,
            _ => Self::Ycck,
        }
    }
}

/// The image, `[height, width, 3]`, its sides divided by `reduction` and rounded up.
pub fn rgb(frame: &Frame, planes: &[Plane], colours: Colours, reduction: usize) -> Vec<u8> {
    let [width, height] = frame.size.map(|pixels| pixels.div_ceil(reduction));
    let mut rows: Vec<Rows> = frame
        .components
        .iter()
        .zip(planes)
        .map(|(component, plane)| Rows::new(frame, component, plane, reduction))
        .collect();
    let mut pixels = vec![0; width * height * 3];
    let (mut three, mut four) = (vec![0; width * 3], vec![0; width * 4]);
    for (y, line) in pixels.chunks_exact_mut(width * 3).enumerate() {
        match (&mut rows[..], colours) {
            ([luma, blue, red], Colours::Ycc) => {
                colour::rgb(luma.row(y, width), blue.row(y, width), red.row(y, width), line);
            }
            ([red, green, blue], _) => {
                let channels =
                    red.row(y, width).iter().zip(green.row(y, width)).zip(blue.row(y, width));
                for (pixel, ((&red, &green), &blue)) in
                    line.as_chunks_mut().0.iter_mut().zip(channels)
                {
                    *pixel = [red, green, blue];
                }
            }
            ([first, second, third, black], _) => {
                let (first, second, third) =
                    (first.row(y, width), second.row(y, width), third.row(y, width));
                let inks = four.as_chunks_mut::<4>().0.iter_mut().zip(black.row(y, width));
                if colours == Colours::Ycck {
                    // The conversion from luma and chroma gives the complement of the inks, which
                    // is also the stored form.
                    colour::rgb(first, second, third, &mut three);
                    for ((inks, &black), &[red, green, blue]) in inks.zip(three.as_chunks::<3>().0)
                    {
                        *inks = [red, green, blue, 255 - black];
                    }
                } else {
                    for ((inks, &black), ((&cyan, &magenta), &yellow)) in
                        inks.zip(first.iter().zip(second).zip(third))
                    {
                        let stored = [cyan, magenta, yellow, black];
                        *inks = if colours == Colours::PlainCmyk {
                            stored
                        } else {
                            stored.map(|ink| 255 - ink)
                        };
                    }
                }
                line.copy_from_slice(&convert::cmyk(&four));
            }
            (rows, _) => {
                for (pixel, &level) in
                    line.as_chunks_mut::<3>().0.iter_mut().zip(rows[0].row(y, width))
                {
                    *pixel = [level; 3];
                }
            }
        }
    }
    pixels
}

/// How a component's samples become the image's pixels.
#[derive(Clone, Copy)]
enum Fit {
    Same,
    DoubleWidth,
    DoubleHeight,
    DoubleBoth,
    /// Each sample is repeated across and down.
    Repeat([usize; 2]),
    /// Two samples make a pixel, side by side or one above the other. This happens in reduced
    /// images if two components' resolutions differ in one direction only.
    MeanAcross,
    MeanDown,
}

/// A component's rows at the image's width.
struct Rows<'a> {
    plane: &'a Plane,
    fit: Fit,
    /// Width and height of the component in samples.
    size: [usize; 2],
    sums: Vec<u16>,
    buffer: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn new(frame: &Frame, component: &Component, plane: &'a Plane, reduction: usize) -> Self {
        let ratio = frame.ratio(component);
        // libjpeg's filter needs three samples in a row.
        let wide = component.size[0] > 2;
        let fit = if reduction > 1 {
            match ratio {
                [2, 1] => Fit::MeanDown,
                [1, 2] => Fit::MeanAcross,
                _ => Fit::Same,
            }
        } else {
            match ratio {
                [1, 1] => Fit::Same,
                [2, 1] if wide => Fit::DoubleWidth,
                [1, 2] => Fit::DoubleHeight,
                [2, 2] if wide => Fit::DoubleBoth,
                ratio => Fit::Repeat(ratio),
            }
        };
        Self { plane, fit, size: component.size, sums: Vec::new(), buffer: Vec::new() }
    }

    /// Row `y` of the image, `[width]`.
    fn row(&mut self, y: usize, width: usize) -> &[u8] {
        let Self { plane, fit, size, sums, buffer } = self;
        let plane = *plane;
        let samples = |y: usize| &plane.row(y)[..size[0]];
        // The farther of the two source rows of a row at double resolution: the one above or below.
        let far = |y: usize| {
            if y.is_multiple_of(2) {
                (y / 2).saturating_sub(1)
            } else {
                (y / 2 + 1).min(size[1] - 1)
            }
        };
        match *fit {
            Fit::Same => return &plane.row(y)[..width],
            Fit::DoubleWidth => {
                buffer.resize(2 * size[0], 0);
                upsample::double_width(samples(y), buffer);
            }
            Fit::DoubleHeight => {
                buffer.resize(size[0], 0);
                upsample::double_height(samples(y / 2), samples(far(y)), 1 + y as u16 % 2, buffer);
            }
            Fit::DoubleBoth => {
                buffer.resize(2 * size[0], 0);
                upsample::double_both(samples(y / 2), samples(far(y)), sums, buffer);
            }
            Fit::Repeat([across, down]) => {
                buffer.clear();
                buffer.extend(
                    samples(y / down)
                        .iter()
                        .flat_map(|&sample| std::iter::repeat_n(sample, across)),
                );
            }
            Fit::MeanAcross => {
                buffer.clear();
                buffer.extend(
                    plane
                        .row(y)
                        .as_chunks()
                        .0
                        .iter()
                        .take(width)
                        .map(|&[left, right]| mean(left, right)),
                );
            }
            Fit::MeanDown => {
                let pairs = plane.row(2 * y).iter().zip(plane.row(2 * y + 1));
                buffer.clear();
                buffer.extend(pairs.take(width).map(|(&above, &below)| mean(above, below)));
            }
        }
        &buffer[..width]
    }
}

fn mean(one: u8, other: u8) -> u8 {
    (u16::from(one) + u16::from(other)).div_ceil(2) as u8
}
