//! The image of a learning-rate range test: loss by learning rate.

use super::axis::Axis;
use super::curves::{CurvesError, HEIGHT, WIDTH};
use super::drawing::{PALETTE, SCALE, chart, draw_choice, draw_title, svg};
use crate::atomic_file;
use crate::train::lr_find::LrFind;
use plotters::prelude::*;
use std::path::Path;

const RAW: RGBColor = RGBColor(180, 205, 225);
const SMOOTHED: RGBColor = PALETTE[0];

/// Draws the test and writes the image, replacing one that is there.
///
/// # Errors
/// If the test has no step, or the file cannot be written.
pub fn write_rates(path: &Path, name: &str, found: &LrFind) -> Result<(), CurvesError> {
    Ok(atomic_file::write(path, rates_svg(name, found)?.as_bytes())?)
}

/// The image as SVG: each step's loss, the smoothed losses, and a line at the suggested rate.
///
/// # Errors
/// [`CurvesError::NoEpochs`] without a step.
pub fn rates_svg(name: &str, found: &LrFind) -> Result<String, CurvesError> {
    let (Some(first), Some(last)) = (found.points.first(), found.points.last()) else {
        return Err(CurvesError::NoEpochs);
    };
    let x = Axis::of_exponents(first.learning_rate.log10(), last.learning_rate.log10());
    // Single losses may leave the image at the top: the smoothed ones are what counts.
    let y =
        Axis::of_values(found.points.iter().map(|point| point.smoothed_loss), 0.2, f64::INFINITY);
    svg(WIDTH, HEIGHT, |area| {
        let (head, body) = area.split_vertically(50 * SCALE);
        let suggestion = found
            .suggestion
            .map_or("no rate to suggest".to_owned(), |rate| format!("suggested rate {rate:.1e}"));
        draw_title(&head, &format!("{name}: {suggestion}"))?;
        let mut chart = chart(&body, (&x, "learning rate of the backbone"), (&y, "training loss"))?;
        if let Some(rate) = found.suggestion {
            draw_choice(&mut chart, rate.log10(), &y)?;
        }
        for (colour, width, smoothed) in [(RAW, 1, false), (SMOOTHED, 2, true)] {
            let value = |loss: f64| loss.clamp(y.low, y.high);
            let points = found.points.iter().map(|point| {
                (
                    point.learning_rate.log10(),
                    value(if smoothed { point.smoothed_loss } else { point.loss }),
                )
            });
            chart.draw_series([PathElement::new(
                points.collect::<Vec<_>>(),
                colour.stroke_width(width * SCALE as u32),
            )])?;
        }
        Ok(())
    })
}
