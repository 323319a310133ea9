//! `compare.svg`: all arms' curves, and where each ended.

use super::document::ranked;
use super::result::{ArmRuns, Comparison};
use crate::report::axis::Axis;
use crate::report::curves::CurvesError;
use crate::report::drawing::{
    DASHES, FAINT, INK, LineStyle, PALETTE, Points, SCALE, chart, draw_curve, draw_line,
    draw_title, shortened, svg, text_style,
};
use crate::report::epochs::EpochRow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Size of the image in CSS pixels.
const WIDTH: u32 = 1200;
const HEAD: i32 = 48;
const CURVES: i32 = 380;
/// Height of one arm's row below the curves.
const ROW: i32 = 26;
/// Room for the rows' names, and their width in terminal columns.
const NAMES: i32 = 330;
const NAME_COLUMNS: usize = 36;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One arm as it is drawn.
struct Shown<'a> {
    name: String,
    style: LineStyle,
    runs: Vec<&'a [EpochRow]>,
    /// The accuracy that each seed ended with.
    ends: Vec<f64>,
    mean: Option<f64>,
}

/// Draws loss (left) and accuracy (right) by epoch, means over the seeds, and below them each arm's
/// accuracies at the end: a dot for each seed, a bar for their mean. The best arm comes first.
///
/// # Errors
/// When no run has finished, or the plotting library fails.
pub(super) fn comparison_svg(
    title: &str,
    comparison: &Comparison,
    arms: &[ArmRuns<'_>],
) -> Result<String, CurvesError> {
    let scored_on = comparison.scored_on;
    let shown: Vec<Shown<'_>> = ranked(comparison)
        .into_iter()
        .enumerate()
        .filter_map(|(place, arm)| {
            let finished: Vec<_> =
                arms.iter().find(|runs| runs.arm.name == arm.name)?.finished().collect();
            Some(Shown {
                name: arm.name.clone(),
                style: LineStyle {
                    colour: PALETTE[place % PALETTE.len()],
                    dash: DASHES[place / PALETTE.len() % DASHES.len()],
                },
                runs: finished.iter().map(|run| run.rows.as_slice()).collect(),
                ends: finished
                    .iter()
                    .filter_map(|run| scored_on.of_summary(&run.summary))
                    .collect(),
                mean: arm.accuracy(scored_on).0,
            })
        })
        .collect();
    let epochs =
        || shown.iter().flat_map(|arm| &arm.runs).flat_map(|rows| rows.iter()).map(|row| row.epoch);
    // A fitted head is epoch 0.
    let (first, last) = (epochs().min().unwrap_or(1), epochs().max().unwrap_or(1));
    if shown.iter().all(|arm| arm.runs.is_empty()) {
        return Err(CurvesError::NoEpochs);
    }
    let rows = shown.len() as i32 * ROW + 56;
    svg(WIDTH, (HEAD + CURVES + rows) as u32, |area| {
        let (head, body) = area.split_vertically(HEAD * SCALE);
        draw_title(&head, title)?;
        let (curves, ends) = body.split_vertically(CURVES * SCALE);
        let halves = curves.split_evenly((1, 2));
        let epochs = Axis::of_epochs(first, last);
        let loss = |row: &EpochRow| Some(row.train_loss);
        draw_curves(&halves[0], &shown, &epochs, ("training loss", 0.2, f64::INFINITY), &loss)?;
        let accuracy = |row: &EpochRow| scored_on.of_epoch(row);
        draw_curves(
            &halves[1],
            &shown,
            &epochs,
            (&format!("{} accuracy", scored_on.name()), 0.1, 1.0),
            &accuracy,
        )?;
        draw_ends(&ends, &shown)
    })
}

fn draw_curves(
    area: &Area<'_>,
    shown: &[Shown<'_>],
    epochs: &Axis,
    (name, least_span, most): (&str, f64, f64),
    value: &dyn Fn(&EpochRow) -> Option<f64>,
) -> Result<(), CurvesError> {
    let curves: Vec<Points> = shown.iter().map(|arm| mean_curve(&arm.runs, value)).collect();
    // A loss that diverged would press all other curves flat on the floor: the axis ends at ten
    // times the median.
    let mut values: Vec<f64> = curves.iter().flatten().filter_map(|&(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    let ceiling = values.get(values.len() / 2).map_or(f64::INFINITY, |median| median * 10.0);
    let axis =
        Axis::of_values(values.into_iter().filter(|&value| value <= ceiling), least_span, most);
    let chart = chart(area, (epochs, "epoch"), (&axis, name))?;
    let plot = chart.plotting_area();
    for (arm, points) in shown.iter().zip(&curves) {
        let inside: Points = points
            .iter()
            .map(|&(epoch, value)| (epoch, value.filter(|&value| value <= axis.high)))
            .collect();
        draw_curve(plot, arm.style, &inside)?;
    }
    Ok(())
}

/// The mean over the seeds at each epoch, as far as all of them went.
fn mean_curve(runs: &[&[EpochRow]], value: &dyn Fn(&EpochRow) -> Option<f64>) -> Points {
    let epochs = runs.iter().map(|rows| rows.len()).min().unwrap_or(0);
    (0..epochs)
        .map(|place| {
            let values: Option<Vec<f64>> = runs
                .iter()
                .map(|rows| value(&rows[place]).filter(|value| value.is_finite()))
                .collect();
            let mean = values.map(|values| values.iter().sum::<f64>() / values.len() as f64);
            (f64::from(runs[0][place].epoch), mean)
        })
        .collect()
}

fn draw_ends(area: &Area<'_>, shown: &[Shown<'_>]) -> Result<(), CurvesError> {
    let axis = Axis::of_values(shown.iter().flat_map(|arm| arm.ends.iter().copied()), 0.05, 1.0);
    let width = WIDTH as i32;
    let to_x = |value: f64| {
        let share = (value - axis.low) / (axis.high - axis.low);
        (f64::from(NAMES * SCALE) + share * f64::from((width - NAMES - 24) * SCALE)).round() as i32
    };
    let bottom = (shown.len() as i32 * ROW + 14) * SCALE;
    let label = text_style(14).pos(Pos::new(HPos::Center, VPos::Top));
    for &tick in &axis.ticks {
        let x = to_x(tick);
        area.draw(&PathElement::new(
            [(x, 8 * SCALE), (x, bottom)],
            FAINT.stroke_width(SCALE as u32),
        ))?;
        area.draw_text(&axis.label(tick), &label, (x, bottom + 6 * SCALE))?;
    }
    let name_style = text_style(15).pos(Pos::new(HPos::Left, VPos::Center));
    for (place, arm) in shown.iter().enumerate() {
        let y = (place as i32 * ROW + ROW / 2 + 8) * SCALE;
        draw_line(area, arm.style, vec![(24 * SCALE, y), (54 * SCALE, y)])?;
        area.draw_text(&shortened(&arm.name, NAME_COLUMNS), &name_style, (62 * SCALE, y))?;
        if arm.ends.is_empty() {
            area.draw_text("did not finish", &name_style, (NAMES * SCALE, y))?;
        }
        for &end in &arm.ends {
            area.draw(&Circle::new(
                (to_x(end), y),
                4 * SCALE,
                arm.style.colour.mix(0.55).filled(),
            ))?;
        }
        if let Some(mean) = arm.mean {
            let x = to_x(mean);
            area.draw(&PathElement::new(
                [(x, y - 10 * SCALE), (x, y + 10 * SCALE)],
                INK.stroke_width(2 * SCALE as u32),
            ))?;
        }
    }
    Ok(())
}
