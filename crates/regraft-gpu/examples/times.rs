//! Times the dispatches of a training step on a GPU, one by one, and the whole step.
//!
//!     cargo run --release -p regraft-gpu --example times -- resnet18 224 256 f16 [GPU [ROWS]]
//!
//! Prints the kernels with their share of the time and the bandwidth and the arithmetic that they
//! reach, and then the `ROWS` slowest dispatches.

use regraft_gpu::{DispatchTime, GpuEngine, Options};
use regraft_nn::architectures;
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Normalisation, Reduction, StepPart, Target, TrainBatch,
};
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use regraft_nn::precision::Precision;
use std::collections::BTreeMap;
use std::time::Instant;

/// Multiply-adds of a dispatch, as far as it is a product.
fn multiply_adds(time: &DispatchTime) -> f64 {
    let of = |name: &str| {
        time.params.iter().find(|(found, _)| *found == name).map(|(_, value)| f64::from(*value))
    };
    match (of("rows"), of("columns"), of("depth")) {
        (Some(rows), Some(columns), Some(depth)) => {
            rows * columns * depth * of("groups").unwrap_or(1.0)
        }
        _ => 0.0,
    }
}

fn row(name: &str, count: usize, time: f64, bytes: f64, multiply_adds: f64) {
    println!(
        "{time:10.1} us {count:4} {:8.0} GB/s {:8.1} TFLOP/s  {name}",
        bytes / time / 1e3,
        2.0 * multiply_adds / time / 1e6
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (name, side, count) = (next("resnet18"), next("224").parse()?, next("64").parse()?);
    let precision = match next("f32").as_str() {
        "f16" => Precision::F16,
        _ => Precision::F32,
    };
    let (gpu, rows): (usize, usize) = (next("0").parse()?, next("30").parse()?);
    let architecture = architectures::find(&name).ok_or("no such architecture")?;
    let graph = architecture.graph();
    let state = from_scratch(&graph, 5, HeadInitialization::Xavier);
    let options = Options { gpu, precision, checks: false };
    let begin = Instant::now();
    let mut engine = GpuEngine::new(graph, side, options)?;
    engine.load_state(&state)?;
    let mut word = 1_u32;
    let pixels: Vec<u8> = (0..count * side * side * 3)
        .map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 24) as u8
        })
        .collect();
    let labels: Vec<u32> = (0..count as u32).map(|place| place % 1000).collect();
    let batch = TrainBatch {
        input: Input::pixels(&pixels, Normalisation { mean: [0.5; 3], std: [0.25; 3] }),
        target: Target::Labels(&labels),
        weights: None,
        seed: 3,
        epoch: 1,
        position: 0,
    };
    let loss = LossSettings {
        loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
        reduction: Reduction::Mean,
    };
    let part = StepPart { accumulate: false, is_last: true, step_images: count };
    let output = engine.gradients(&batch, loss, part)?;
    println!("{name} {side} px, batch {count}, {} on {}", precision.name(), engine.device());
    println!(
        "first pass after {:.2} s, loss {:?}",
        begin.elapsed().as_secs_f64(),
        output.losses[0]
    );
    let begin = Instant::now();
    for _ in 0..10 {
        engine.gradients(&batch, loss, part)?;
    }
    let step = begin.elapsed().as_secs_f64() / 10.0;
    println!("a pass with upload {:.2} ms, {:.0} images/s", 1e3 * step, count as f64 / step);
    let mut times = engine.times(&batch, loss, part, 5)?;
    let mut kernels: BTreeMap<&str, (usize, f64, f64, f64)> = BTreeMap::new();
    for time in &times {
        let kernel = kernels.entry(&time.kernel).or_default();
        kernel.0 += 1;
        kernel.1 += time.microseconds;
        kernel.2 += time.bytes as f64;
        kernel.3 += multiply_adds(time);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|left, right| right.1.1.total_cmp(&left.1.1));
    let total: f64 = times.iter().map(|time| time.microseconds).sum();
    println!("{} dispatches, {:.2} ms on the device", times.len(), total / 1e3);
    for (name, (count, time, bytes, multiply_adds)) in kernels {
        row(name, count, time, bytes, multiply_adds);
    }
    println!("slowest:");
    times.sort_by(|left, right| right.microseconds.total_cmp(&left.microseconds));
    for time in times.iter().take(rows) {
        let short = ["rows", "columns", "depth", "length", "pixels", "vectors", "kernel", "stride"];
        let params: Vec<String> = time
            .params
            .iter()
            .filter(|(name, _)| short.contains(name))
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let name = format!("{} {:?} {}", time.kernel, time.groups, params.join(", "));
        row(&name, 1, time.microseconds, time.bytes as f64, multiply_adds(time));
    }
    Ok(())
}
