//! Several engines on one machine, as `--device cpu*N` opens them, against one.

use regraft::engines::{DeviceChoice, open};
use regraft::nn::architectures;
use regraft::nn::engine::{
    Engine, EngineError, Input, Loss, LossSettings, Optimizer, Reduction, State, StepPart, Target,
    TrainBatch, Update,
};
use regraft::nn::initialize::{HeadInitialization, from_scratch};
use regraft::nn::ops::NormStatistics;
use regraft::nn::precision::Precision;
use regraft::ranks::Ranks;
use regraft_base::random::{Draws, Purpose};

const SIDE: usize = 32;
const CLASSES: usize = 4;
const BATCH: usize = 6;
const LOSS: LossSettings = LossSettings {
    loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 },
    reduction: Reduction::Mean,
};

fn engine(device: &str) -> Box<dyn Engine> {
    let mut graph =
        architectures::find("efficientnet_lite0").expect("known").graph().with_classes(CLASSES);
    graph.set_norm_statistics(NormStatistics::Running);
    let choice = DeviceChoice::try_from(device.to_owned()).expect("a device");
    let state = from_scratch(&graph, 1, HeadInitialization::Xavier);
    let open = open(&choice, graph, SIDE, Precision::F32, 2, &Ranks::default());
    let mut engine = open.expect("an engine");
    engine.load_state(&state).expect("every tensor");
    engine
}

fn images(step: u32) -> (Vec<f32>, Vec<u32>) {
    let mut draws = Draws::new(9, Purpose::Fixture, 0, step);
    let images = (0..BATCH * SIDE * SIDE * 3).map(|_| draws.range(-2.0, 2.0)).collect();
    (images, (0..BATCH as u32).map(|place| place % CLASSES as u32).collect())
}

/// The losses of some steps with dropout and stochastic depth, and the network after them.
fn train(device: &str) -> (Vec<f32>, State) {
    let mut engine = engine(device);
    let rates = vec![0.01; engine.graph().nodes.len()];
    let mut losses = Vec::new();
    for step in 0..3 {
        let (images, labels) = images(step);
        // Of unequal size, in two parts, so that some ranks have more images than others, and some
        // none.
        for part in [0..4, 4..BATCH] {
            let batch = TrainBatch {
                input: Input { part: Some([part.start, part.end]), ..Input::values(&images) },
                target: Target::Labels(&labels[part.clone()]),
                weights: None,
                seed: 2,
                epoch: step,
                position: part.start as u32,
            };
            let step = StepPart {
                step_images: BATCH,
                accumulate: part.start > 0,
                is_last: part.end == BATCH,
            };
            losses.extend(engine.gradients(&batch, LOSS, step).expect("a batch that fits").losses);
        }
        let optimizer = Optimizer::Sgd { momentum: 0.9 };
        let update = Update {
            optimizer,
            learning_rates: &rates,
            weight_decay: 1e-3,
            decay_bias_norm: true,
            step: u64::from(step) + 1,
            clip: Some(1.0),
        };
        engine.update(&update).expect("gradients are there");
        engine.follow_average(0.9);
    }
    assert!(engine.has_average() && engine.first_not_finite().is_none());
    (losses, engine.state())
}

/// With running statistics, three clipped steps of SGD end within 1e-4 of each tensor's largest
/// value of where one engine ends, which is what sums in another order make of them.
#[test]
fn any_number_of_engines_trains_the_same_network() {
    let (expected_losses, expected) = train("cpu");
    for device in ["cpu*2", "cpu*3", "cpu*4"] {
        let (losses, state) = train(device);
        let worst = losses
            .iter()
            .zip(&expected_losses)
            .map(|(found, expected)| (found / expected - 1.0).abs());
        assert!(
            worst.fold(0.0, f32::max) < 1e-4,
            "{device}: {losses:?} are not {expected_losses:?}"
        );
        for (name, values) in &state {
            let largest =
                expected[name].iter().fold(1e-3_f32, |largest, value| largest.max(value.abs()));
            let worst = values
                .iter()
                .zip(&expected[name])
                .map(|(found, expected)| (found - expected).abs() / largest);
            assert!(worst.fold(0.0, f32::max) < 1e-4, "{device}: {name}");
        }
        let (again, same) = train(device);
        assert!(losses == again && state == same, "{device} gives the same bits again");
    }
}

#[test]
fn what_is_shared_out_is_what_one_engine_computes_to_the_bit() {
    let (images, _) = images(7);
    let mut one = engine("cpu");
    let node = one.graph().backbone() - 1;
    let logits = one.evaluate(Input::values(&images), BATCH).expect("images that fit");
    let features = one.features(Input::values(&images), BATCH, node).expect("images that fit");
    for device in ["cpu*2", "cpu*4", "cpu*8"] {
        let mut team = engine(device);
        assert!(
            team.evaluate(Input::values(&images), BATCH).expect("images that fit") == logits,
            "{device}"
        );
        assert!(
            team.features(Input::values(&images), BATCH, node).expect("images that fit")
                == features,
            "{device}"
        );
        assert!(team.state() == one.state());
    }
}

#[test]
fn what_one_engine_refuses_several_refuse_and_go_on() {
    let mut team = engine("cpu*3");
    let (images, mut labels) = images(8);
    let right = labels.clone();
    labels[1] = 9;
    let mut gradients = |labels: &[u32], images: &[f32]| {
        let input = Input::values(images);
        let batch = TrainBatch {
            input,
            target: Target::Labels(labels),
            weights: None,
            seed: 0,
            epoch: 0,
            position: 0,
        };
        team.gradients(&batch, LOSS, StepPart::whole(labels.len()))
    };
    assert_eq!(
        gradients(&labels, &images).err(),
        Some(EngineError::Label { label: 9, classes: CLASSES })
    );
    assert!(matches!(gradients(&right, &images[1..]), Err(EngineError::Length { .. })));
    assert_eq!(gradients(&right, &images).expect("a batch that fits").losses.len(), BATCH);
}
