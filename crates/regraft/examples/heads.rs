//! Times the fitted head. Either on made-up features, by number of classes and images of each:
//! `cargo run --release -p regraft --example heads -- 1000 10`, or on those of a file that
//! `--features` names.

use regraft::logistic_regression::{CrossValidationOptions, Examples, cross_validate_and_solve};
use regraft_base::random::{Draws, Purpose};
use std::ops::ControlFlow;
use std::time::Instant;

/// Features of EfficientNet-Lite0.
const CHANNELS: usize = 1280;
/// Directions in which the features of real images mostly differ.
const DIRECTIONS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (features, labels, classes) = match arguments.as_slice() {
        [classes, images] => {
            let classes = classes.parse()?;
            let (features, labels) = made_up(classes, images.parse()?);
            (features, labels, classes)
        }
        [path] => {
            let bytes = std::fs::read(path)?;
            let words: Vec<u32> =
                bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
            let count = words[0] as usize;
            let features = words[3 + count..].iter().map(|&word| f32::from_bits(word)).collect();
            (features, words[3..3 + count].to_vec(), words[2] as usize)
        }
        _ => return Err("give the number of classes and that of images of each".into()),
    };
    let examples = Examples {
        features: &features,
        channels: features.len() / labels.len(),
        labels: &labels,
        classes,
        class_weights: None,
        prior: None,
    };
    let started = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    let mut progress = |done, _| {
        if done != last {
            eprint!(" {:.1}", since.elapsed().as_secs_f64());
            (last, since) = (done, Instant::now());
        }
        ControlFlow::Continue(())
    };
    let (found, solution) =
        cross_validate_and_solve(examples, &CrossValidationOptions::new(0), &mut progress)?;
    eprintln!();
    println!(
        "{} examples of {classes} classes: {:.1} s, strength {:.4}, {} + {} evaluations, loss \
         {:.6}, peak memory {} MiB",
        labels.len(),
        started.elapsed().as_secs_f64(),
        found.strength,
        found.evaluations,
        solution.evaluations,
        solution.loss,
        peak_memory().unwrap_or(0) / 1024,
    );
    for trial in &found.trials {
        println!(
            "  strength {:9.4}: loss {:.6}, accuracy {:.4}",
            trial.strength, trial.loss, trial.accuracy
        );
    }
    Ok(())
}

/// Features as a backbone gives them: none negative, correlated, with means far from zero, in a
/// cluster for each class.
fn made_up(classes: usize, images: usize) -> (Vec<f32>, Vec<u32>) {
    let normals = |part: u32, length: usize| -> Vec<f32> {
        let mut draws = Draws::new(1, Purpose::Fixture, 0, part);
        (0..length).map(|_| draws.normal()).collect()
    };
    // The first directions matter most, as principal components do.
    let mut directions = normals(0, DIRECTIONS * CHANNELS);
    for (place, direction) in directions.chunks_exact_mut(CHANNELS).enumerate() {
        let size = 4.0 / ((place + 1) as f32 * DIRECTIONS as f32).sqrt();
        direction.iter_mut().for_each(|value| *value *= size);
    }
    let labels: Vec<u32> =
        (0..(classes * images) as u32).map(|example| example % classes as u32).collect();
    let centres = normals(1, classes * DIRECTIONS);
    let mut features = Vec::with_capacity(labels.len() * CHANNELS);
    for (example, &label) in labels.iter().enumerate() {
        let mut row = normals(2 + example as u32, CHANNELS + DIRECTIONS);
        let own = row.split_off(CHANNELS);
        row.iter_mut().for_each(|value| *value *= 0.35);
        let centre = &centres[label as usize * DIRECTIONS..][..DIRECTIONS];
        for ((own, centre), direction) in
            own.iter().zip(centre).zip(directions.chunks_exact(CHANNELS))
        {
            let share = own + 0.5 * centre;
            row.iter_mut()
                .zip(direction)
                .for_each(|(value, direction)| *value += share * direction);
        }
        features.extend(row.iter().map(|value| (0.6 * value + 0.1).max(0.0)));
    }
    (features, labels)
}

/// The most memory that this process has held, in KiB, where Linux tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
