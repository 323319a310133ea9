//! `curves.svg`: loss and accuracies by epoch.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
pub use super::drawing::CurvesError;
use super::drawing::{
    DASHES, LineStyle, MOST_MARKED_POINTS, PALETTE, Points, SCALE, chart, choice_stroke,
    draw_choice, draw_curve, draw_line, draw_title, svg, text_style,
};
use super::epochs::EpochRow;
use crate::atomic_file;

/// Size of the image in CSS pixels.
pub(super) const WIDTH: u32 = 960;
pub(super) const HEIGHT: u32 = 400;

const TRAIN: Curve =
    Curve { label: "train", style: LineStyle { colour: PALETTE[0], dash: DASHES[0] } };
const VALIDATION: Curve =
    Curve { label: "validation", style: LineStyle { colour: PALETTE[1], dash: DASHES[1] } };
const TEST: Curve =
    Curve { label: "test", style: LineStyle { colour: PALETTE[2], dash: DASHES[2] } };

/// The name and the look of a curve.
#[derive(Clone, Copy)]
struct Curve {
    label: &'static str,
    style: LineStyle,
}

/// One of the two plots.
struct Panel {
    value_name: &'static str,
    curves: Vec<(Curve, Points)>,
    axis: Axis,
}

/// Draws the rows and writes the image, replacing one that is there (see [`curves_svg`]).
///
/// # Errors
/// [`CurvesError`].
pub fn write_curves(
    path: &Path,
    run_name: &str,
    rows: &[EpochRow],
    best_epoch: Option<u32>,
) -> Result<(), CurvesError> {
    Ok(atomic_file::write(path, curves_svg(run_name, rows, best_epoch)?.as_bytes())?)
}

/// Draws loss (left) and accuracies (right) by epoch as an SVG image: train, validation and test
/// where the rows have them, and a line at `best_epoch`, the one whose model is kept because it was
/// the best (`None` if none was chosen, as in recipes that keep the last). Values that are not
/// finite leave a gap.
///
/// # Errors
/// [`CurvesError::NoEpochs`] without rows.
pub fn curves_svg(
    run_name: &str,
    rows: &[EpochRow],
    best_epoch: Option<u32>,
) -> Result<String, CurvesError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(CurvesError::NoEpochs);
    };
    let epochs = Axis::of_epochs(first.epoch, last.epoch);
    let best = best_epoch.and_then(|epoch| rows.iter().find(|row| row.epoch == epoch));
    let panels = [loss_panel(rows), accuracy_panel(rows)];
    svg(WIDTH, HEIGHT, |area| {
        let (head, body) = area.split_vertically(62 * SCALE);
        draw_head(&head, run_name, &panels[1], last, best)?;
        for (panel, place) in panels.iter().zip(body.split_evenly((1, 2))) {
            draw_panel(&place, panel, &epochs, best)?;
        }
        Ok(())
    })
}

fn loss_panel(rows: &[EpochRow]) -> Panel {
    let mut curves = vec![(TRAIN, points(rows, |row| Some(row.train_loss)))];
    curves.push((VALIDATION, points(rows, |row| row.validation_loss)));
    Panel::new("loss", curves, 0.2, f64::INFINITY)
}

fn accuracy_panel(rows: &[EpochRow]) -> Panel {
    let mut curves = vec![(TRAIN, points(rows, |row| Some(row.train_accuracy)))];
    curves.push((VALIDATION, points(rows, |row| row.validation_accuracy)));
    curves.push((TEST, points(rows, |row| row.test_accuracy)));
    Panel::new("accuracy", curves, 0.1, 1.0)
}

fn points(rows: &[EpochRow], value: impl Fn(&EpochRow) -> Option<f64>) -> Points {
    rows.iter()
        .map(|row| (f64::from(row.epoch), value(row).filter(|value| value.is_finite())))
        .collect()
}

impl Panel {
    fn new(
        value_name: &'static str,
        mut curves: Vec<(Curve, Points)>,
        least_span: f64,
        most: f64,
    ) -> Self {
        // Train always has its place in the legend, also where no value of it is finite.
        curves.retain(|(curve, points)| {
            curve.label == TRAIN.label || points.iter().any(|(_, value)| value.is_some())
        });
        let values = curves.iter().flat_map(|(_, points)| points).filter_map(|&(_, value)| value);
        let axis = Axis::of_values(values, least_span, most);
        Self { value_name, curves, axis }
    }
}

/// The title, and the legend under it.
fn draw_head(
    area: &DrawingArea<SVGBackend, Shift>,
    run_name: &str,
    panel: &Panel,
    last: &EpochRow,
    best: Option<&EpochRow>,
) -> Result<(), CurvesError> {
    draw_title(area, run_name)?;
    let style = text_style(15).pos(Pos::new(HPos::Left, VPos::Center));
    let line_y = 50 * SCALE;
    let mut x = 64 * SCALE;
    for (curve, points) in &panel.curves {
        let line = vec![(x, line_y), (x + 30 * SCALE, line_y)];
        draw_line(area, curve.style, line)?;
        if points.len() <= MOST_MARKED_POINTS {
            area.draw(&Circle::new(
                (x + 15 * SCALE, line_y),
                3 * SCALE,
                curve.style.colour.filled(),
            ))?;
        }
        area.draw_text(curve.label, &style, (x + 37 * SCALE, line_y))?;
        x += (37 + 8 * curve.label.len() as i32 + 22) * SCALE;
    }
    if let Some(best) = best {
        let top = [(x + 4 * SCALE, line_y - 8 * SCALE), (x + 4 * SCALE, line_y + 8 * SCALE)];
        area.draw(&PathElement::new(top, choice_stroke()))?;
        let accuracy = [("validation", best.validation_accuracy), ("test", best.test_accuracy)];
        let accuracy = accuracy.into_iter().find_map(|(name, value)| Some((name, value?)));
        let (name, value) = accuracy.unwrap_or(("train", best.train_accuracy));
        let label =
            format!("best epoch {} of {} ({name} accuracy {value:.3})", best.epoch, last.epoch);
        area.draw_text(&label, &style, (x + 14 * SCALE, line_y))?;
    }
    Ok(())
}

fn draw_panel(
    area: &DrawingArea<SVGBackend, Shift>,
    panel: &Panel,
    epochs: &Axis,
    best: Option<&EpochRow>,
) -> Result<(), CurvesError> {
    let mut chart = chart(area, (epochs, "epoch"), (&panel.axis, panel.value_name))?;
    if let Some(best) = best {
        draw_choice(&mut chart, f64::from(best.epoch), &panel.axis)?;
    }
    let plot = chart.plotting_area();
    panel.curves.iter().try_for_each(|(curve, points)| draw_curve(plot, curve.style, points))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(epochs: u32) -> Vec<EpochRow> {
        let row = |epoch: u32| EpochRow {
            epoch,
            train_loss: 1.0 / f64::from(epoch),
            train_accuracy: 1.0 - 0.5 / f64::from(epoch),
            validation_loss: Some(1.2 / f64::from(epoch)),
            validation_accuracy: Some(0.9 - 0.4 / f64::from(epoch)),
            test_accuracy: None,
            learning_rate: 0.01,
            seconds: 1.0,
            images_per_second: 100.0,
            data_wait_fraction: 0.0,
        };
        (1..=epochs).map(row).collect()
    }

    /// How often the colour of a curve's points appears, its point in the legend included.
    fn circles(svg: &str, curve: Curve) -> usize {
        let RGBColor(red, green, blue) = curve.style.colour;
        let fill = format!("fill=\"#{red:02X}{green:02X}{blue:02X}\"");
        svg.lines().filter(|line| line.starts_with("<circle") && line.contains(&fill)).count()
    }

    fn shows(svg: &str, text: &str) -> bool {
        svg.lines().any(|line| line == text)
    }

    #[test]
    fn every_finite_value_is_a_point() {
        let mut rows = rows(3);
        let svg = curves_svg("photos", &rows, Some(2)).unwrap();
        assert!(
            svg.starts_with("<svg width=\"960\" height=\"400\" viewBox=\"0 0 7680 3200\""),
            "{}",
            &svg[..90]
        );
        // Three in each panel and one in the legend.
        assert_eq!(
            (circles(&svg, TRAIN), circles(&svg, VALIDATION), circles(&svg, TEST)),
            (7, 7, 0)
        );
        for text in ["photos", "epoch", "loss", "accuracy", "train", "validation"] {
            assert!(shows(&svg, text), "{text}");
        }
        assert!(shows(&svg, "best epoch 2 of 3 (validation accuracy 0.700)"));
        assert!(!shows(&svg, "test"));

        rows[1].train_loss = f64::NAN;
        rows[2].validation_accuracy = None;
        rows[0].test_accuracy = Some(0.5);
        let svg = curves_svg("photos", &rows, None).unwrap();
        assert_eq!(
            (circles(&svg, TRAIN), circles(&svg, VALIDATION), circles(&svg, TEST)),
            (6, 6, 2)
        );
        assert!(shows(&svg, "test") && !svg.contains("best epoch") && !svg.contains("NaN"));
    }

    #[test]
    fn one_epoch_is_points_and_two_hundred_are_lines() {
        let svg = curves_svg("photos", &rows(1), Some(1)).unwrap();
        assert_eq!((circles(&svg, TRAIN), circles(&svg, VALIDATION)), (3, 3));
        let svg = curves_svg("photos", &rows(200), Some(200)).unwrap();
        assert_eq!((circles(&svg, TRAIN), circles(&svg, VALIDATION)), (0, 0));
        // The train curve of each panel is one line through all of its points.
        let lines =
            svg.lines().filter(|line| line.starts_with("<polyline") && line.contains("#0072B2"));
        let longest =
            lines.map(|line| line.matches(',').count()).filter(|&count| count == 200).count();
        assert_eq!(longest, 2);
    }

    #[test]
    fn without_validation_the_best_epoch_tells_what_there_is() {
        let mut rows = rows(2);
        for row in &mut rows {
            (row.validation_loss, row.validation_accuracy) = (None, None);
        }
        let svg = curves_svg("photos", &rows, Some(1)).unwrap();
        assert!(shows(&svg, "best epoch 1 of 2 (train accuracy 0.500)"));
        assert!(!shows(&svg, "validation"));
    }

    #[test]
    fn values_that_are_all_missing_still_give_a_picture() {
        let mut rows = rows(2);
        for row in &mut rows {
            (row.train_loss, row.train_accuracy) = (f64::NAN, f64::INFINITY);
            (row.validation_loss, row.validation_accuracy) = (None, None);
        }
        let svg = curves_svg("photos", &rows, None).unwrap();
        assert_eq!(circles(&svg, TRAIN), 1);
    }

    #[test]
    fn no_epochs_are_an_error() {
        assert!(matches!(curves_svg("photos", &[], None), Err(CurvesError::NoEpochs)));
    }

    #[test]
    fn any_name_is_a_title() {
        let svg = curves_svg("a<b>&\"犬\"\u{1b}", &rows(1), None).unwrap();
        assert!(shows(&svg, "a&lt;b&gt;&amp;&quot;犬&quot;\u{fffd}"), "{svg}");
    }

    #[test]
    fn the_picture_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        write_curves(&path, "photos", &rows(2), None).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            curves_svg("photos", &rows(2), None).unwrap()
        );
    }
}
