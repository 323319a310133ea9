//! Helpers for the tests of kernels: running on every instruction set, drawn values, comparison,
//! convolutions.

// Every test file compiles this module separately and uses a part of it.
#![allow(dead_code)]

pub mod reference;

use regraft_base::random::{Draws, Purpose};
use regraft_kernels::amx::{self, Unusable};
use regraft_kernels::batch_norm::Statistics;
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::depthwise;
use regraft_kernels::element::{Element, copy};
use regraft_kernels::finish::Finish;
use regraft_kernels::isa::{self, InstructionSet};
use regraft_kernels::packing::{MapElement, PackedWeights};
use std::io::Write;
use std::process::Command;

/// Set in the process that runs a test's body; its value says whether AMX is emulated there.
const CHILD: &str = "REGRAFT_TEST_CHILD";
const EMULATED: &str = "emulated";
/// Cargo's variable for the emulator, with its arguments, that runs programs for ARM.
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";

/// Whether AMX is emulated in this process.
pub fn is_emulated() -> bool {
    std::env::var_os(CHILD).is_some_and(|how| how == EMULATED)
}

/// Runs the body of the test named `test` once for each instruction set that this processor has. If
/// only AMX is missing, it is emulated.
///
/// A process chooses its set once, so each run is a process of its own: this program, with this one
/// test selected.
pub fn on_every_instruction_set(test: &str, body: impl FnOnce()) {
    on_instruction_sets(InstructionSet::OF_ARCHITECTURE, test, body);
}

/// Like [`on_every_instruction_set`], for some sets.
pub fn on_instruction_sets(sets: &[InstructionSet], test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        if is_emulated() {
            assert!(
                regraft_amx_emulator::install(),
                "a processor and a system that the emulator runs on"
            );
            // SAFETY: the emulator was installed just now and stays; the instruction set was not
            // used before.
            unsafe { amx::trust_emulator() };
        }
        let forced = std::env::var(isa::VARIABLE).expect("the parent process names the set");
        assert_eq!(isa::in_use().map(InstructionSet::name), Ok(forced.as_str()));
        return body();
    }
    // Written directly to the stream, because the output of `println!` is shown only for failed
    // tests.
    let tell =
        |what: &str| writeln!(std::io::stderr(), "{test}: {what}").expect("a place for messages");
    for &set in sets {
        let mut how = "native";
        if !set.is_available() {
            let missing = if set == InstructionSet::Amx { amx::usable().err() } else { None };
            let can_emulate =
                InstructionSet::Avx512Bf16.is_available() && cfg!(target_os = "linux");
            match missing {
                Some(missing @ (Unusable::Processor | Unusable::System)) if can_emulate => {
                    tell(&format!("emulated: {missing}"));
                    how = EMULATED;
                }
                Some(missing) => {
                    tell(&format!("skipped: {missing}"));
                    continue;
                }
                None => {
                    tell(&format!("skipped: no {}", set.name()));
                    continue;
                }
            }
        }
        let program = std::env::current_exe().expect("the path of this program");
        let runner = std::env::var(RUNNER).ok().filter(|_| cfg!(target_arch = "aarch64"));
        let mut words = runner.iter().flat_map(|runner| runner.split_whitespace());
        let mut command = match words.next() {
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, how)
            .env(isa::VARIABLE, set.name());
        let output = command.output().expect("this program starts again");
        let [told, errors] =
            [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream));
        let passed = output.status.success() && told.contains("test result: ok. 1 passed");
        assert!(passed, "{test} on {}:\n{told}\n{errors}", set.name());
    }
}

/// Values of the fixture stream (seed 2024, `sample`) as 2u - 1.
pub fn draw(sample: u32, count: usize) -> Vec<f32> {
    draw_as(sample, count, |u| 2.0 * u - 1.0)
}

/// Values of the fixture stream (seed 2024, `sample`), each passed through `change`.
pub fn draw_as(sample: u32, count: usize, change: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut draws = Draws::new(2024, Purpose::Fixture, 0, sample);
    (0..count).map(|_| change(draws.uniform())).collect()
}

/// The values in another type, rounded if necessary.
pub fn to<T: Element>(values: &[impl Element]) -> Vec<T> {
    let mut converted = vec![T::default(); values.len()];
    copy(values, &mut converted);
    converted
}

/// The values rounded to `E`.
pub fn rounded<E: Element>(values: &[f32]) -> Vec<f32> {
    to(&to::<E>(values))
}

/// The values in f64, exactly.
pub fn wide(values: &[impl Element]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.to_f32())).collect()
}

/// NaN, which no kernel may read.
pub fn nan<E: Element>() -> E {
    E::from_f32(f32::NAN)
}

/// Statistics of a feature map `[pixels, channels]`: those that a convolution computes of its
/// output, which here equals its input.
pub fn statistics(map: &[f32], channels: usize) -> Statistics {
    let shape =
        convolution_shape([1, 1, map.len() / channels, channels], channels, [1, 1], 1, [0; 4], 1);
    let identity: Vec<f32> = (0..channels * channels)
        .map(|at| if at % (channels + 1) == 0 { 1.0 } else { 0.0 })
        .collect();
    let (same, statistics) = Kernels::Convolution.forward_with_statistics(&shape, map, &identity);
    assert_eq!(same, map);
    statistics
}

/// Fails if the difference of a value from the expected one exceeds `tolerance` times the largest
/// expected one.
pub fn assert_close(what: &str, found: &[impl Element], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: the number of values");
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let found = found.to_f32();
        let difference = (f64::from(found) - expected).abs();
        // A NaN is never within the tolerance.
        let within = difference <= tolerance * largest;
        assert!(
            within,
            "{what}: value {at} is {found} instead of {expected}, {:e} of the largest",
            difference / largest
        );
    }
}

/// `values + start`, the result of the variants that accumulate.
pub fn plus(values: &[f64], start: &[impl Element]) -> Vec<f64> {
    values.iter().zip(start).map(|(value, start)| value + f64::from(start.to_f32())).collect()
}

/// The bits of each value: unlike the values, they tell -0 from 0 and equal NaNs.
pub fn bits(values: &[impl Element]) -> Vec<u32> {
    values.iter().map(|value| value.to_f32().to_bits()).collect()
}

/// The shape of a convolution: `input` is [N, H, W, C], `kernel` [rows, columns], `padding` [top,
/// bottom, left, right].
pub fn convolution_shape(
    input: [usize; 4],
    out_channels: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 4],
    groups: usize,
) -> ConvolutionShape {
    let [batch, in_height, in_width, in_channels] = input;
    let [top, bottom, left, right] = padding;
    ConvolutionShape {
        batch,
        in_height,
        in_width,
        in_channels,
        out_height: (in_height + top + bottom - kernel[0]) / stride + 1,
        out_width: (in_width + left + right - kernel[1]) / stride + 1,
        out_channels,
        kernel_height: kernel[0],
        kernel_width: kernel[1],
        stride,
        padding_top: top,
        padding_left: left,
        groups,
    }
}

/// The kernels that compute a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// `regraft_kernels::convolution`.
    Convolution,
    /// `regraft_kernels::depthwise`.
    Depthwise,
}

impl Kernels {
    /// The kernels that support the shape.
    pub fn of(shape: &ConvolutionShape) -> Vec<Self> {
        if depthwise::handles(shape) {
            vec![Self::Convolution, Self::Depthwise]
        } else {
            vec![Self::Convolution]
        }
    }

    /// The index in the kernels' order of PyTorch's weight `[out, in / groups, row, column]` number
    /// `at`.
    fn place(self, shape: &ConvolutionShape, at: usize) -> usize {
        let (taps, ins) =
            (shape.kernel_height * shape.kernel_width, shape.in_channels / shape.groups);
        let (out, channel, tap) = (at / taps / ins, at / taps % ins, at % taps);
        match self {
            Self::Convolution => (out * taps + tap) * ins + channel,
            Self::Depthwise => tap * shape.out_channels + out,
        }
    }

    /// Reorders weights from PyTorch's order to the kernels'.
    pub fn to_kernel_order(self, shape: &ConvolutionShape, weights: &[f32]) -> Vec<f32> {
        let mut ordered = vec![0.0; weights.len()];
        weights
            .iter()
            .enumerate()
            .for_each(|(at, &weight)| ordered[self.place(shape, at)] = weight);
        ordered
    }

    /// Reorders weights from the kernels' order to PyTorch's.
    pub fn to_pytorch_order(self, shape: &ConvolutionShape, weights: &[f32]) -> Vec<f32> {
        (0..weights.len()).map(|at| weights[self.place(shape, at)]).collect()
    }

    /// The plain output; `weights` are in the kernels' order.
    pub fn forward<E: MapElement>(
        self,
        shape: &ConvolutionShape,
        input: &[E],
        weights: &[f32],
    ) -> Vec<E> {
        self.forward_with(shape, input, weights, Finish::NOTHING)
    }

    /// The output, finished as `finish` says.
    pub fn forward_with<E: MapElement>(
        self,
        shape: &ConvolutionShape,
        input: &[E],
        weights: &[f32],
        finish: Finish<'_, E>,
    ) -> Vec<E> {
        // Kernels must not read an output's earlier content.
        let mut output = vec![nan::<E>(); shape.output_length()];
        self.forward_into(shape, input, weights, &mut output, finish);
        output
    }

    /// Like [`Self::forward_with`], into an existing output.
    pub fn forward_into<E: MapElement>(
        self,
        shape: &ConvolutionShape,
        input: &[E],
        weights: &[f32],
        output: &mut [E],
        finish: Finish<'_, E>,
    ) {
        match self {
            Self::Convolution => {
                let mut packed = PackedWeights::default();
                packed.pack::<E>(shape, weights);
                convolution::forward(shape, input, &packed, output, finish);
            }
            Self::Depthwise => depthwise::forward(shape, input, weights, output, finish),
        }
    }

    /// The output and its statistics.
    pub fn forward_with_statistics<E: MapElement>(
        self,
        shape: &ConvolutionShape,
        input: &[E],
        weights: &[f32],
    ) -> (Vec<E>, Statistics) {
        let mut statistics = Statistics::default();
        let output = self.forward_with(shape, input, weights, Finish::Statistics(&mut statistics));
        (output, statistics)
    }

    /// The input's gradient, added to `start` if it is given.
    pub fn backward_input<E: MapElement>(
        self,
        shape: &ConvolutionShape,
        gradient: &[E],
        weights: &[f32],
        start: Option<&[E]>,
    ) -> Vec<E> {
        let mut target =
            start.map_or_else(|| vec![nan::<E>(); shape.input_length()], <[E]>::to_vec);
        let accumulate = start.is_some();
        match self {
            Self::Convolution => {
                let mut scratch = GradientScratch::default();
                convolution::backward_input(
                    shape,
                    gradient,
                    weights,
                    &mut target,
                    accumulate,
                    &mut scratch,
                );
            }
            Self::Depthwise => {
                depthwise::backward_input(shape, gradient, weights, &mut target, accumulate)
            }
        }
        target
    }

    /// The gradient of the weights, in the kernels' order.
    pub fn backward_weights<E: MapElement>(
        self,
        shape: &ConvolutionShape,
        input: &[E],
        gradient: &[E],
    ) -> Vec<f32> {
        let mut target = vec![f32::NAN; shape.weight_length()];
        match self {
            Self::Convolution => {
                convolution::backward_weights(
                    shape,
                    input,
                    gradient,
                    &mut target,
                    &mut GradientScratch::default(),
                );
            }
            Self::Depthwise => {
                depthwise::backward_weights(shape, input, gradient, &mut target, &mut Vec::new())
            }
        }
        target
    }
}
