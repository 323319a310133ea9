//! `regraft lr-find`.

use crate::arguments::LrFindArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::report::rates::write_rates;
use regraft::train::Event;
use regraft::train::lr_find::{RateTest, lr_find};

pub fn run(arguments: &LrFindArguments) -> Result<(), Failure> {
    let LrFindArguments { plot, from, to, steps, .. } = arguments;
    if !(*from > 0.0 && from < to && to.is_finite()) {
        return Err(Failure::input(anyhow::anyhow!(
            "the rate cannot rise from {from} to {to}; use numbers such as --from 1e-6 --to 1"
        )));
    }
    let config = arguments.resolve()?;
    let mut bars = Bars::default();
    let mut made = 0;
    let found =
        lr_find(
            &config,
            RateTest { from: *from, to: *to, steps: *steps },
            &mut |event| match event {
                Event::Note(note) => {
                    bars.clear();
                    output::aside(format!("note: {note}"));
                }
                Event::Progress(progress) => bars.progress(progress),
                Event::Step(step) => {
                    made += 1;
                    bars.show("steps", made, *steps as usize, format!("loss {:.3}", step.loss));
                }
                _ => {}
            },
        );
    bars.clear();
    let found = found.map_err(Failure::of)?;
    let name = config
        .data
        .file_name()
        .map_or_else(|| "lr-find".into(), |name| name.to_string_lossy().into_owned());
    write_rates(plot, &name, &found).map_err(Failure::under_way)?;
    if arguments.json {
        return output::json(&found);
    }
    let ended = if found.ended_early { ", where the loss diverged" } else { "" };
    let last = found.points.last().map_or(0.0, |point| point.learning_rate);
    output::line(format!("{} steps up to a rate of {last:.1e}{ended}", found.points.len()))?;
    match (found.suggestion, found.minimum) {
        (Some(suggestion), Some(minimum)) => {
            output::line(format!(
                "the loss falls fastest at --lr {suggestion:.1e}, and is smallest at {minimum:.1e}"
            ))?;
        }
        _ => output::line("the loss falls at no rate; try a smaller --from or a larger --to")?,
    }
    output::line(format!("wrote {}", plot.display()))
}
