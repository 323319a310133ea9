//! Compares whole networks on AMX, which is emulated if the processor lacks it, with the same
//! networks on AVX-512 BF16.

mod common;

use common::training::{MEAN, pictures};
use common::{generated_state, graph, norm_difference};
use regraft_cpu::CpuEngine;
use regraft_kernels::amx::{self, Unusable};
use regraft_kernels::isa::{self, InstructionSet};
use regraft_nn::engine::{Engine, Input, Optimizer, Target, TrainBatch, Update};
use regraft_nn::precision::Precision;
use std::process::Command;

/// Set in the process that trains; says whether AMX is emulated there.
const CHILD: &str = "REGRAFT_TEST_CHILD";
const EMULATED: &str = "emulated";
const TEST: &str = "a_training_on_amx_is_near_that_on_avx512bf16";
const NETWORKS: [&str; 2] = ["efficientnet_lite0", "resnet18"];

/// For each network, the logits of a batch, the losses of a training step on it, and the changes of
/// all weights.
fn train() -> Vec<Vec<f32>> {
    let (classes, size, batch) = (4, 64, 4);
    let (images, labels) = pictures(batch, size, classes);
    let mut results = Vec::new();
    for architecture in NETWORKS {
        let graph = graph(architecture).with_classes(classes);
        let start = generated_state(&graph);
        let mut engine = CpuEngine::with_precision(graph, size, 2, Precision::Bf16)
            .expect("images large enough");
        engine.load_state(&start).expect("every tensor");
        results.push(engine.evaluate(Input::values(&images), batch).expect("images that fit"));
        let rates = vec![1e-2; engine.graph().nodes.len()];
        let update = Update {
            optimizer: Optimizer::Sgd { momentum: 0.9 },
            learning_rates: &rates,
            weight_decay: 0.0,
            step: 1,
            clip: None,
            decay_bias_norm: true,
        };
        let batch = TrainBatch {
            input: Input::values(&images),
            target: Target::Labels(&labels),
            weights: None,
            seed: 7,
            epoch: 0,
            position: 0,
        };
        results.push(engine.train_step(&batch, MEAN, &update).expect("a batch that fits").losses);
        let end = engine.state();
        let moved = end.iter().flat_map(|(name, values)| {
            values.iter().zip(&start[name]).map(|(now, before)| now - before)
        });
        results.push(moved.collect());
    }
    results
}

/// The result of [`train`] on an instruction set, from a process of its own, because a process
/// chooses its set once.
fn trained_on(set: InstructionSet, how: &str) -> Vec<Vec<f32>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("results.json");
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command
        .args([TEST, "--exact", "--nocapture"])
        .env(CHILD, how)
        .env(isa::VARIABLE, set.name())
        .env("REGRAFT_TEST_RESULTS", &path);
    let output = command.output().expect("this program starts again");
    assert!(
        output.status.success(),
        "{}:\n{}",
        set.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&std::fs::read(&path).expect("the results")).expect("lists of numbers")
}

#[test]
fn a_training_on_amx_is_near_that_on_avx512bf16() {
    if let Some(how) = std::env::var_os(CHILD) {
        if how == EMULATED {
            assert!(
                regraft_amx_emulator::install(),
                "a processor and a system that the emulator runs on"
            );
            // SAFETY: the emulator was installed just now and stays; the instruction set was not
            // used before.
            unsafe { amx::trust_emulator() };
        }
        assert_eq!(
            isa::in_use().map(|set| set.name().to_owned()).ok(),
            std::env::var(isa::VARIABLE).ok()
        );
        let path =
            std::env::var_os("REGRAFT_TEST_RESULTS").expect("the parent process names the file");
        let results = train();
        assert!(
            how != EMULATED || regraft_amx_emulator::products() > 10_000,
            "the network's products are those of tiles"
        );
        std::fs::write(path, serde_json::to_vec(&results).expect("numbers"))
            .expect("a file is written");
        return;
    }
    let how = match amx::usable() {
        Ok(_) => "native",
        Err(missing @ (Unusable::Processor | Unusable::System))
            if InstructionSet::Avx512Bf16.is_available() && cfg!(target_os = "linux") =>
        {
            eprintln!("{TEST}: emulated: {missing}");
            EMULATED
        }
        Err(missing) => {
            eprintln!("{TEST}: skipped: {missing}");
            return;
        }
    };
    let (expected, found) =
        (trained_on(InstructionSet::Avx512Bf16, "native"), trained_on(InstructionSet::Amx, how));
    assert_eq!(expected.len(), 3 * NETWORKS.len());
    for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let (network, what) =
            (NETWORKS[at / 3], ["logits", "losses", "change of all weights"][at % 3]);
        let difference = norm_difference(found, expected);
        // The two sum in different orders, so now and then a value of a feature map is rounded to
        // another bf16, which differs by up to 2^-8 of the value. The largest measured difference
        // is 9.5e-3, the same as between AVX-512 with and without products of bf16.
        assert!(difference < 3e-2, "{network}: {what} differ by {difference:e}");
    }
}
