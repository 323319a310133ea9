//! The scale, colours, lines and letters that all plots share.

use plotters::coord::{CoordTranslate, Shift};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::axis::Axis;
use crate::atomic_file::AtomicFileError;

/// The plotting library places everything on whole units, which as pixels would bend flat curves
/// into steps. So it draws this many times larger, and the SVG's view box scales the drawing back.
pub(crate) const SCALE: i32 = 8;
/// With more points than this, marking single ones would only thicken the line.
pub(crate) const MOST_MARKED_POINTS: usize = 40;
/// Terminal columns (about half an em each) that a title may take.
const TITLE_COLUMNS: usize = 70;

pub(crate) const INK: RGBColor = RGBColor(51, 51, 51);
pub(crate) const FAINT: RGBColor = RGBColor(228, 228, 228);
const CHOICE: RGBColor = RGBColor(140, 140, 140);
/// Colours that stay apart for colour-blind readers (M. Okabe, K. Ito, "Color universal design",
/// 2008).
pub(crate) const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 60),
    RGBColor(0, 0, 0),
];
/// Lengths and gaps in pixels of lines that are told apart without any colour.
pub(crate) const DASHES: [Option<(i32, i32)>; 4] =
    [None, Some((7, 3)), Some((2, 3)), Some((12, 3))];

/// Curves that could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// There is no epoch to show.
    #[error("no epoch to draw curves of: train for at least one")]
    NoEpochs,
    /// The plotting library failed.
    #[error("cannot draw the curves: {0}")]
    Draw(String),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for CurvesError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::Draw(error.to_string())
    }
}

/// How a line looks.
#[derive(Clone, Copy)]
pub(crate) struct LineStyle {
    pub colour: RGBColor,
    /// Length and gap in pixels; a solid line without.
    pub dash: Option<(i32, i32)>,
}

/// Values along the horizontal axis; `None` if there is nothing to show.
pub(crate) type Points = Vec<(f64, Option<f64>)>;

/// An SVG image of this size in CSS pixels.
pub(crate) fn svg(
    width: u32,
    height: u32,
    draw: impl FnOnce(&DrawingArea<SVGBackend, Shift>) -> Result<(), CurvesError>,
) -> Result<String, CurvesError> {
    let scale = SCALE as u32;
    let mut svg = String::new();
    {
        let area =
            SVGBackend::with_string(&mut svg, (width * scale, height * scale)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    let drawn = format!("width=\"{}\" height=\"{}\"", width * scale, height * scale);
    Ok(svg.replacen(&drawn, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

/// The frame of a plot: axes, their labels, and a grid at the labels.
pub(crate) fn chart<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    (x, x_name): (&Axis, &str),
    (y, y_name): (&Axis, &str),
) -> Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>, CurvesError> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(10 * SCALE)
        .margin_right(18 * SCALE)
        .margin_bottom(6 * SCALE)
        .margin_left(4 * SCALE)
        .x_label_area_size(44 * SCALE)
        .y_label_area_size(60 * SCALE)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(FAINT.stroke_width(SCALE as u32))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.stroke_width(SCALE as u32))
        .label_style(text_style(14))
        .axis_desc_style(text_style(16))
        .set_all_tick_mark_size(4 * SCALE)
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&|value| x.label(*value))
        .y_label_formatter(&|value| y.label(*value))
        .draw()?;
    Ok(chart)
}

/// Draws a line, solid or dashed as the curve asks for, in the area's coordinates.
pub(crate) fn draw_line<Translation: CoordTranslate>(
    area: &DrawingArea<SVGBackend, Translation>,
    style: LineStyle,
    line: Vec<Translation::From>,
) -> Result<(), CurvesError>
where
    Translation::From: Clone + 'static,
{
    let stroke = style.colour.stroke_width(2 * SCALE as u32);
    match style.dash {
        None => area.draw(&PathElement::new(line, stroke))?,
        Some((length, gap)) => {
            area.draw(&DashedPathElement::new(line, length * SCALE, gap * SCALE, stroke))?
        }
    }
    Ok(())
}

/// Draws a curve in the plot's coordinates, and its points if they are few or isolated.
pub(crate) fn draw_curve(
    plot: &DrawingArea<SVGBackend, Cartesian2d<Axis, Axis>>,
    style: LineStyle,
    points: &Points,
) -> Result<(), CurvesError> {
    for stretch in unbroken(points) {
        if points.len() <= MOST_MARKED_POINTS || stretch.len() == 1 {
            for &point in &stretch {
                plot.draw(&Circle::new(point, 3 * SCALE, style.colour.filled()))?;
            }
        }
        draw_line(plot, style, stretch)?;
    }
    Ok(())
}

/// How the line at the choice looks.
pub(crate) fn choice_stroke() -> ShapeStyle {
    CHOICE.stroke_width(SCALE as u32 * 3 / 2)
}

/// Draws a line over the plot's whole height at the choice.
pub(crate) fn draw_choice(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<Axis, Axis>>,
    at: f64,
    y: &Axis,
) -> Result<(), CurvesError> {
    chart.draw_series([PathElement::new([(at, y.low), (at, y.high)], choice_stroke())])?;
    Ok(())
}

/// The stretches of a curve between its gaps.
fn unbroken(points: &Points) -> Vec<Vec<(f64, f64)>> {
    points
        .split(|(_, value)| value.is_none())
        .map(|stretch| {
            stretch.iter().filter_map(|&(epoch, value)| Some((epoch, value?))).collect::<Vec<_>>()
        })
        .filter(|stretch| !stretch.is_empty())
        .collect()
}

pub(crate) fn text_style(size: i32) -> TextStyle<'static> {
    FontDesc::new(FontFamily::SansSerif, f64::from(size * SCALE), FontStyle::Normal).color(&INK)
}

/// Draws a title at the upper left.
pub(crate) fn draw_title(
    area: &DrawingArea<SVGBackend, Shift>,
    name: &str,
) -> Result<(), CurvesError> {
    let style =
        FontDesc::new(FontFamily::SansSerif, f64::from(22 * SCALE), FontStyle::Bold).color(&INK);
    Ok(area.draw_text(&shortened(name, TITLE_COLUMNS), &style, (64 * SCALE, 14 * SCALE))?)
}

/// A name without control characters (which no XML may hold), cut if it takes more than that many
/// terminal columns.
pub(crate) fn shortened(name: &str, columns: usize) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if name.width() <= columns {
        return name;
    }
    let mut width = 0;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width < columns
    };
    let mut shown: String = name.chars().take_while(fits).collect();
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened(&"x".repeat(70), 70), "x".repeat(70));
        assert_eq!(shortened(&"x".repeat(71), 70), format!("{}…", "x".repeat(69)));
        assert_eq!(shortened(&"犬".repeat(36), 70), format!("{}…", "犬".repeat(34)));
    }
}
