//! Times a training step and an evaluation on random pictures: `step [ARCHITECTURE] [BATCH] [FROZEN LAYER]`.

use regraft_kernels::random::{Draws, Purpose};
use regraft_nn::cpu::CpuEngine;
use regraft_nn::engine::{Engine, LossSettings, Optimizer, Reduction, TrainBatch, Update};
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("efficientnet_lite0", String::as_str);
    let batch: usize = arguments.get(1).map_or(Ok(32), |text| text.parse())?;
    let graph = regraft_nn::architectures::find(name).ok_or("no such architecture")?.graph().with_classes(2);
    let state = from_scratch(&graph, 0, HeadInitialization::Xavier);
    let frozen = arguments.get(2).map_or(Ok(0), |layer| graph.nodes_through(layer))?;
    let rates = vec![1e-3; graph.nodes.len()];
    let mut engine = CpuEngine::new(graph, 224, 0)?;
    engine.load_state(&state)?;
    engine.freeze(frozen);
    let mut draws = Draws::new(0, Purpose::Fixture, 0, 0);
    let images: Vec<f32> = (0..batch * 224 * 224 * 3).map(|_| draws.range(-2.0, 2.0)).collect();
    let labels: Vec<u32> = (0..batch as u32).map(|place| place % 2).collect();
    let loss = LossSettings { reduction: Reduction::Mean, label_smoothing: 0.0 };
    for step in 1..=5 {
        let start = Instant::now();
        let optimizer = Optimizer::Sgd { momentum: 0.9 };
        let update = Update { optimizer, learning_rates: &rates, weight_decay: 1e-3, step };
        let batch_of = TrainBatch { images: &images, labels: &labels, seed: 0, epoch: 0, position: 0 };
        let output = engine.train_step(&batch_of, loss, &update)?;
        let mean = output.losses.iter().sum::<f32>() / batch as f32;
        println!("train {:.1} images/s, loss {mean:.4}", batch as f64 / start.elapsed().as_secs_f64());
    }
    for _ in 0..3 {
        let start = Instant::now();
        engine.evaluate(&images, batch)?;
        println!("evaluate {:.1} images/s", batch as f64 / start.elapsed().as_secs_f64());
    }
    println!("{}: {} MiB of activations", engine.device(), engine.activation_bytes() >> 20);
    Ok(())
}
