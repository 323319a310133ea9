//! The picture of a learning-rate range test: loss by learning rate.

use super::axis::Axis;
use super::curves::{BEST, CurvesError, FAINT, HEIGHT, INK, SCALE, WIDTH, text_style, title};
use crate::atomic_file;
use crate::train::lr_find::LrFind;
use plotters::prelude::*;
use std::path::Path;

const RAW: RGBColor = RGBColor(180, 205, 225);
const SMOOTHED: RGBColor = RGBColor(0, 114, 178);

/// Draws the test and writes the picture, replacing one that is there.
///
/// # Errors
/// When the test has no step, or the file cannot be written.
pub fn write_rates(path: &Path, name: &str, found: &LrFind) -> Result<(), CurvesError> {
    Ok(atomic_file::write(path, rates_svg(name, found)?.as_bytes())?)
}

/// The picture as SVG: each step's loss, the smoothed losses, and a line at the suggested rate.
///
/// # Errors
/// [`CurvesError::NoEpochs`] without a step.
pub fn rates_svg(name: &str, found: &LrFind) -> Result<String, CurvesError> {
    let (Some(first), Some(last)) = (found.points.first(), found.points.last()) else {
        return Err(CurvesError::NoEpochs);
    };
    let x = Axis::of_exponents(first.learning_rate.log10(), last.learning_rate.log10());
    // Single losses may leave the picture at the top: the smoothed ones are what counts.
    let y = Axis::of_values(found.points.iter().map(|point| point.smoothed_loss), 0.2, f64::INFINITY);
    let mut svg = String::new();
    {
        let backend = SVGBackend::with_string(&mut svg, (WIDTH * SCALE as u32, HEIGHT * SCALE as u32));
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        let (head, body) = area.split_vertically(50 * SCALE);
        let suggestion = found.suggestion.map_or("no rate to suggest".to_owned(), |rate| format!("suggested rate {rate:.1e}"));
        head.draw_text(&format!("{}: {suggestion}", title(name)), &text_style(20), (64 * SCALE, 14 * SCALE))?;
        let mut chart = ChartBuilder::on(&body)
            .margin_top(10 * SCALE)
            .margin_right(18 * SCALE)
            .margin_bottom(6 * SCALE)
            .margin_left(4 * SCALE)
            .x_label_area_size(44 * SCALE)
            .y_label_area_size(60 * SCALE)
            .build_cartesian_2d(x, y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(FAINT.stroke_width(SCALE as u32))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.stroke_width(SCALE as u32))
            .label_style(text_style(14))
            .axis_desc_style(text_style(16))
            .set_all_tick_mark_size(4 * SCALE)
            .x_desc("learning rate of the trunk")
            .y_desc("training loss")
            .x_label_formatter(&|exponent| format!("1e{exponent}"))
            .y_label_formatter(&|value| y.label(*value))
            .draw()?;
        if let Some(rate) = found.suggestion {
            let line = [(rate.log10(), y.low), (rate.log10(), y.high)];
            chart.draw_series([PathElement::new(line, BEST.stroke_width(SCALE as u32 * 3 / 2))])?;
        }
        for (colour, width, smoothed) in [(RAW, 1, false), (SMOOTHED, 2, true)] {
            let value = |loss: f64| loss.clamp(y.low, y.high);
            let points = found
                .points
                .iter()
                .map(|point| (point.learning_rate.log10(), value(if smoothed { point.smoothed_loss } else { point.loss })));
            chart.draw_series([PathElement::new(points.collect::<Vec<_>>(), colour.stroke_width(width * SCALE as u32))])?;
        }
        area.present()?;
    }
    let drawn = format!("width=\"{}\" height=\"{}\"", WIDTH * SCALE as u32, HEIGHT * SCALE as u32);
    Ok(svg.replacen(&drawn, &format!("width=\"{WIDTH}\" height=\"{HEIGHT}\""), 1))
}
