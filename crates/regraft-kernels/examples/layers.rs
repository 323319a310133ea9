//! Measures how close each layer's convolution comes to the processor's peak: forward, gradient of
//! the input, gradient of the weights.
//!
//!     cargo run --release -p regraft-kernels --example layers -- resnet18
//!     cargo run --release -p regraft-kernels --example layers -- efficientnet_lite0 \
//!         --precision bf16 --batch 32 --threads 2
//!
//! Operations are counted by the definition, two for each multiply-add. Winograd's algorithm does
//! 16 multiplications instead of the definition's 36, or 36 instead of 144, so its share of the
//! peak may exceed 100 %. The peak is measured on all threads at once, on values that stay in
//! registers: fused multiply-adds, or products of bf16 (of pairs, or of AMX's tiles) if the
//! instruction set has them.
//!
//! Memory limits depthwise convolutions, so a second table has the rate at which each reads and
//! writes its maps, as a share of that of a copy.

use rayon::prelude::*;
use regraft_base::random::{Draws, Purpose};
use regraft_kernels::batch_norm::Statistics;
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::depthwise;
use regraft_kernels::element::Bf16;
use regraft_kernels::finish::Finish;
use regraft_kernels::isa::{self, InstructionSet};
use regraft_kernels::memory::{CacheLine, elements_mut, lines_for};
use regraft_kernels::packing::{MapElement, PackedWeights};
use std::hint::black_box;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// `(layers of this shape, side of the input, channels in, channels out, kernel, stride, first
/// padding, depthwise)`
type Layer = (usize, usize, usize, usize, usize, usize, usize, bool);

/// The distinct convolutions of ResNet-18 for images of 224 x 224.
const RESNET18: &[Layer] = &[
    (1, 224, 3, 64, 7, 2, 3, false),
    (4, 56, 64, 64, 3, 1, 1, false),
    (1, 56, 64, 128, 1, 2, 0, false),
    (1, 56, 64, 128, 3, 2, 1, false),
    (3, 28, 128, 128, 3, 1, 1, false),
    (1, 28, 128, 256, 1, 2, 0, false),
    (1, 28, 128, 256, 3, 2, 1, false),
    (3, 14, 256, 256, 3, 1, 1, false),
    (1, 14, 256, 512, 1, 2, 0, false),
    (1, 14, 256, 512, 3, 2, 1, false),
    (3, 7, 512, 512, 3, 1, 1, false),
];

/// The distinct convolutions of EfficientNet-Lite0, whose padding is one-sided at stride 2.
const EFFICIENTNET_LITE0: &[Layer] = &[
    (1, 224, 3, 32, 3, 2, 0, false),
    (1, 112, 32, 32, 3, 1, 1, true),
    (1, 112, 32, 16, 1, 1, 0, false),
    (1, 112, 16, 96, 1, 1, 0, false),
    (1, 112, 96, 96, 3, 2, 0, true),
    (1, 56, 96, 24, 1, 1, 0, false),
    (2, 56, 24, 144, 1, 1, 0, false),
    (1, 56, 144, 144, 3, 1, 1, true),
    (1, 56, 144, 24, 1, 1, 0, false),
    (1, 56, 144, 144, 5, 2, 1, true),
    (1, 28, 144, 40, 1, 1, 0, false),
    (2, 28, 40, 240, 1, 1, 0, false),
    (1, 28, 240, 240, 5, 1, 2, true),
    (1, 28, 240, 40, 1, 1, 0, false),
    (1, 28, 240, 240, 3, 2, 0, true),
    (1, 14, 240, 80, 1, 1, 0, false),
    (3, 14, 80, 480, 1, 1, 0, false),
    (2, 14, 480, 480, 3, 1, 1, true),
    (2, 14, 480, 80, 1, 1, 0, false),
    (1, 14, 480, 480, 5, 1, 2, true),
    (1, 14, 480, 112, 1, 1, 0, false),
    (3, 14, 112, 672, 1, 1, 0, false),
    (2, 14, 672, 672, 5, 1, 2, true),
    (2, 14, 672, 112, 1, 1, 0, false),
    (1, 14, 672, 672, 5, 2, 1, true),
    (1, 7, 672, 192, 1, 1, 0, false),
    (4, 7, 192, 1152, 1, 1, 0, false),
    (3, 7, 1152, 1152, 5, 1, 2, true),
    (3, 7, 1152, 192, 1, 1, 0, false),
    (1, 7, 1152, 1152, 3, 1, 1, true),
    (1, 7, 1152, 320, 1, 1, 0, false),
    (1, 7, 320, 1280, 1, 1, 0, false),
];

struct Options {
    layers: &'static [Layer],
    narrow: bool,
    batch: usize,
    threads: usize,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { layers: RESNET18, narrow: false, batch: 32, threads: 0 };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "resnet18" => options.layers = RESNET18,
                "efficientnet_lite0" => options.layers = EFFICIENTNET_LITE0,
                "--precision" => {
                    options.narrow = match arguments.next()?.as_str() {
                        "f32" => false,
                        "bf16" => true,
                        _ => return None,
                    };
                }
                "--batch" => {
                    options.batch = arguments.next()?.parse().ok().filter(|&batch| batch > 0)?
                }
                "--threads" => options.threads = arguments.next()?.parse().ok()?,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!(
            "usage: layers [resnet18|efficientnet_lite0] [--precision f32|bf16] [--batch N] \
             [--threads N]"
        );
        return ExitCode::from(2);
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    match (pool, isa::in_use()) {
        (Ok(pool), Ok(set)) => match pool.install(|| report(&options, set)) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&error),
            _ => ExitCode::SUCCESS,
        },
        (Err(error), _) => fail(&error),
        (_, Err(error)) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}

fn report(options: &Options, set: InstructionSet) -> io::Result<()> {
    let mut output = io::stdout();
    let multiplies_bf16 = options.narrow && set.multiplies_bf16();
    let peak = peak::gigaflops(set, multiplies_bf16);
    let threads = rayon::current_num_threads();
    let products = if multiplies_bf16 { "products of bf16" } else { "multiply-adds of f32" };
    writeln!(
        output,
        "{}, {threads} threads, batch {}: {peak:.0} GFLOP/s of {products}",
        set.name(),
        options.batch
    )?;
    writeln!(
        output,
        "                                            forward          input's gradient  weights' \
         gradient  step"
    )?;
    writeln!(
        output,
        "layers  input             kernel  MFLOP    GFLOP/s  share    GFLOP/s  share    GFLOP/s  \
         share       ms"
    )?;
    let mut total = 0.0;
    let mut depthwise = Vec::new();
    for layer in options.layers {
        let shape = shape(layer, options.batch);
        let flop =
            2.0 * (shape.output_length() * shape.weight_length() / shape.out_channels) as f64;
        let seconds = if options.narrow { measure::<Bf16>(&shape) } else { measure::<f32>(&shape) };
        let rates = seconds.map(|seconds| {
            let rate = flop / seconds / 1e9;
            format!("{rate:>8.1} {:>5.1}%", 100.0 * rate / peak)
        });
        let (count, milliseconds) = (layer.0, layer.0 as f64 * seconds.iter().sum::<f64>() * 1e3);
        total += milliseconds;
        let input =
            format!("{0}x{0}x{1} to {2}", shape.in_height, shape.in_channels, shape.out_channels);
        let kind = if layer.7 { "d" } else { " " };
        let kernel = format!("{0}x{0}/{1}{kind}", shape.kernel_height, shape.stride);
        if layer.7 {
            depthwise.push((format!("{input:<17} {kernel:>7}"), shape, seconds));
        }
        let million = flop / options.batch as f64 / 1e6;
        writeln!(
            output,
            "{count:>6}  {input:<17} {kernel:>7} {million:>6.1}   {}  {milliseconds:>7.2}",
            rates.join("   ")
        )?;
    }
    writeln!(
        output,
        "all convolutions of a training step: {total:.1} ms, at most {:.1} images/s",
        1e3 * options.batch as f64 / total
    )?;
    if depthwise.is_empty() {
        return Ok(());
    }
    let copy = copy_rate();
    writeln!(output, "\nmaps of depthwise convolutions, of {:.1} GB/s of a copy", copy / 1e9)?;
    writeln!(
        output,
        "input             kernel       MB       GB/s  share       GB/s  share       GB/s  share"
    )?;
    let element = if options.narrow { 2 } else { 4 };
    for (name, shape, seconds) in depthwise {
        let bytes = (element * (shape.input_length() + shape.output_length())) as f64;
        let rates = seconds.map(|seconds| {
            let rate = bytes / seconds;
            format!("{:>8.1} {:>5.0}%", rate / 1e9, 100.0 * rate / copy)
        });
        writeln!(output, "{name} {:>8.1}   {}", bytes / 1e6, rates.join("   "))?;
    }
    Ok(())
}

/// Bytes a second that all threads read and write together when they copy more than the caches
/// hold.
fn copy_rate() -> f64 {
    const ELEMENTS: usize = 1 << 26;
    const PIECE: usize = 1 << 16;
    let (from, mut to) = (vec![1.0f32; ELEMENTS], vec![0.0f32; ELEMENTS]);
    let seconds = fastest(|| {
        let pieces = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    (2 * ELEMENTS * size_of::<f32>()) as f64 / seconds
}

fn shape(layer: &Layer, batch: usize) -> ConvolutionShape {
    let &(_, side, in_channels, out_channels, kernel, stride, padding, is_depthwise) = layer;
    ConvolutionShape {
        batch,
        in_height: side,
        in_width: side,
        in_channels,
        out_height: side / stride,
        out_width: side / stride,
        out_channels,
        kernel_height: kernel,
        kernel_width: kernel,
        stride,
        padding_top: padding,
        padding_left: padding,
        groups: if is_depthwise { in_channels } else { 1 },
    }
}

/// Seconds of a forward pass in training, of the input's gradient and of the weights' gradient.
fn measure<E: MapElement>(shape: &ConvolutionShape) -> [f64; 3] {
    let mut draws = Draws::new(0, Purpose::Fixture, 0, 0);
    // Feature maps begin at cache lines, as the engine's do.
    let lengths = [shape.input_length(), shape.output_length()];
    let mut lines = [lengths, lengths]
        .map(|lengths| lengths.map(|length| vec![CacheLine::ZERO; lines_for::<E>(length)]));
    let [[input, gradient], [input_gradient, output]] = &mut lines;
    let [input, input_gradient] =
        [input, input_gradient].map(|lines| elements_mut::<E>(lines, lengths[0]));
    let [gradient, output] = [gradient, output].map(|lines| elements_mut::<E>(lines, lengths[1]));
    for value in input.iter_mut().chain(&mut *gradient) {
        *value = E::from_f32(draws.range(-1.0, 1.0));
    }
    let (input, gradient) = (&*input, &*gradient);
    let weights: Vec<f32> =
        (0..shape.weight_length()).map(|_| E::from_f32(draws.range(-1.0, 1.0)).to_f32()).collect();
    let mut weight_gradient = vec![0.0; weights.len()];
    let (mut statistics, mut packed, mut partial) =
        (Statistics::default(), PackedWeights::default(), Vec::new());
    let (mut scratch, mut weight_scratch) =
        (GradientScratch::default(), GradientScratch::default());
    if depthwise::handles(shape) {
        return [
            fastest(|| {
                depthwise::forward(
                    shape,
                    input,
                    &weights,
                    output,
                    Finish::Statistics(&mut statistics),
                )
            }),
            fastest(|| depthwise::backward_input(shape, gradient, &weights, input_gradient, false)),
            fastest(|| {
                depthwise::backward_weights(
                    shape,
                    input,
                    gradient,
                    &mut weight_gradient,
                    &mut partial,
                )
            }),
        ];
    }
    [
        fastest(|| {
            packed.pack::<E>(shape, &weights);
            convolution::forward(
                shape,
                input,
                &packed,
                output,
                Finish::Statistics(&mut statistics),
            );
        }),
        fastest(|| {
            convolution::backward_input(
                shape,
                gradient,
                &weights,
                input_gradient,
                false,
                &mut scratch,
            )
        }),
        fastest(|| {
            convolution::backward_weights(
                shape,
                input,
                gradient,
                &mut weight_gradient,
                &mut weight_scratch,
            )
        }),
    ]
}

/// The least seconds of several calls; the first call is not counted.
fn fastest(mut work: impl FnMut()) -> f64 {
    work();
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    let mut calls = 0;
    while calls < 3 || (start.elapsed() < Duration::from_millis(200) && calls < 50) {
        let before = Instant::now();
        work();
        least = least.min(before.elapsed().as_secs_f64());
        calls += 1;
    }
    least
}

/// The processor's peak, with operands in registers.
mod peak {
    use super::{Duration, Instant, InstructionSet, black_box};

    /// Rounds of independent multiply-adds in a burst: about a millisecond, so that other work on
    /// the machine does not disturb every burst.
    const ROUNDS: usize = 200_000;
    /// Number of independent sums, enough to hide the latency of each. They begin with values that
    /// the compiler cannot know to be equal.
    const SUMS: usize = 16;

    /// The peak of all threads of the current pool at once, in 10^9 operations a second: the sum of
    /// each thread's best burst.
    pub fn gigaflops(set: InstructionSet, bf16: bool) -> f64 {
        let best = |_: rayon::BroadcastContext<'_>| {
            let (start, mut best) = (Instant::now(), 0.0f64);
            while start.elapsed() < Duration::from_millis(500) {
                let burst = Instant::now();
                best =
                    best.max(work(set, bf16, ROUNDS) as f64 / burst.elapsed().as_secs_f64() / 1e9);
            }
            best
        };
        rayon::broadcast(best).iter().sum()
    }

    /// Does this many rounds and returns the number of operations.
    fn work(set: InstructionSet, bf16: bool, rounds: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            if bf16 && set == InstructionSet::Amx {
                let rounds = rounds / 16;
                // SAFETY: the set has AMX, and is available.
                unsafe { x86::tiles(rounds) };
                return rounds * 4 * 2 * 16 * 16 * 32;
            }
            if bf16 && set.multiplies_bf16() {
                // SAFETY: the set multiplies bf16 by AVX-512, and is available.
                unsafe { x86::pairs_512(rounds) };
                return rounds * SUMS * 64;
            }
            if set >= InstructionSet::Avx512 {
                // SAFETY: the set has AVX-512, and is available.
                unsafe { x86::fused_512(rounds) };
                return rounds * SUMS * 32;
            }
            if set >= InstructionSet::Avx2 {
                // SAFETY: the set has AVX2 and FMA, and is available.
                unsafe { x86::fused_256(rounds) };
                return rounds * SUMS * 16;
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if bf16 && set.multiplies_bf16() {
                // SAFETY: the set multiplies bf16, and is available.
                unsafe { arm::matrices(rounds) };
                return rounds * SUMS * 32;
            }
            if set >= InstructionSet::Neon {
                // SAFETY: the set has NEON, and is available.
                unsafe { arm::fused(rounds) };
                return rounds * SUMS * 8;
            }
        }
        let (factor, mut sums) = (black_box([0.999f32; 4]), black_box([[1.0f32; 4]; SUMS]));
        for _ in 0..rounds {
            for sum in &mut sums {
                for lane in 0..4 {
                    sum[lane] = sum[lane] * factor[lane] + factor[lane];
                }
            }
        }
        black_box(sums);
        let _ = (set, bf16);
        rounds * SUMS * 8
    }

    #[cfg(target_arch = "aarch64")]
    mod arm {
        use super::{SUMS, black_box};
        use std::arch::aarch64::*;
        use std::arch::asm;

        #[target_feature(enable = "neon")]
        pub fn fused(rounds: usize) {
            let (factor, mut sums) =
                (vdupq_n_f32(black_box(0.999)), black_box([vdupq_n_f32(1.0); SUMS]));
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = vfmaq_f32(factor, *sum, factor);
                }
            }
            black_box(sums);
        }

        #[target_feature(enable = "neon,bf16")]
        pub fn matrices(rounds: usize) {
            let (factor, mut sums) =
                (vdupq_n_u16(black_box(0x3f00)), black_box([vdupq_n_f32(1.0); SUMS]));
            for _ in 0..rounds {
                for sum in &mut sums {
                    // SAFETY: the processor has the instruction, which touches registers only.
                    unsafe {
                        asm!(
                            "bfmmla {sum:v}.4s, {factor:v}.8h, {factor:v}.8h",
                            sum = inout(vreg) *sum,
                            factor = in(vreg) factor,
                            options(pure, nomem, nostack, preserves_flags),
                        );
                    }
                }
            }
            black_box(sums);
        }
    }

    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use super::{SUMS, black_box};
        use std::arch::asm;
        use std::arch::x86_64::*;

        /// Four independent sums of whole tiles in a round, of values that are not all alike: a
        /// processor that multiplies zeros takes less power, and is faster by a quarter.
        ///
        /// # Safety
        /// The processor must have AMX, and the system must permit it.
        pub unsafe fn tiles(rounds: usize) {
            #[repr(C, align(64))]
            struct Configuration([u8; 64]);
            let mut configuration = Configuration([0; 64]);
            // Palette 1; rows of 64 bytes from byte 16 on, sixteen of them from byte 48 on, for
            // each of eight tiles.
            configuration.0[0] = 1;
            for tile in 0..8 {
                configuration.0[16 + 2 * tile] = 64;
                configuration.0[48 + tile] = 16;
            }
            let mut values = [0u16; 2048];
            for (at, value) in values.iter_mut().enumerate() {
                // Of either sign, from 0.25 to 1.
                *value = 0x3e80 + (at * 7919 % 256) as u16 + ((at % 2) << 15) as u16;
            }
            // SAFETY: the caller's promise; 64 bytes and four tiles are read, and all tiles are
            // outputs.
            unsafe {
                asm!(
                    "ldtilecfg [{configuration}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tileloadd tmm4, [{values} + {stride}]",
                    "tileloadd tmm5, [{values} + {stride} + 1024]",
                    "tileloadd tmm6, [{values} + {stride} + 2048]",
                    "tileloadd tmm7, [{values} + {stride} + 3072]",
                    "2:",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "dec {rounds}",
                    "jnz 2b",
                    "tilerelease",
                    configuration = in(reg) &raw const configuration,
                    values = in(reg) values.as_ptr(),
                    stride = in(reg) 64_usize,
                    rounds = inout(reg) rounds.max(1) => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                        out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }

        #[target_feature(enable = "avx512f")]
        pub fn fused_512(rounds: usize) {
            let (factor, mut sums) =
                (_mm512_set1_ps(black_box(0.999)), black_box([_mm512_set1_ps(1.0); SUMS]));
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm512_fmadd_ps(*sum, factor, factor);
                }
            }
            black_box(sums);
        }

        #[target_feature(enable = "avx2,fma")]
        pub fn fused_256(rounds: usize) {
            // Sixteen registers hold half the sums and the factor.
            let (factor, mut sums) =
                (_mm256_set1_ps(black_box(0.999)), black_box([_mm256_set1_ps(1.0); SUMS / 2]));
            for _ in 0..2 * rounds {
                for sum in &mut sums {
                    *sum = _mm256_fmadd_ps(*sum, factor, factor);
                }
            }
            black_box(sums);
        }

        #[target_feature(enable = "avx512f,avx512bf16")]
        pub fn pairs_512(rounds: usize) {
            let half = _mm512_set1_ps(black_box(0.5));
            let (factor, mut sums) =
                (_mm512_cvtne2ps_pbh(half, half), black_box([_mm512_set1_ps(1.0); SUMS]));
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm512_dpbf16_ps(*sum, factor, factor);
                }
            }
            black_box(sums);
        }
    }
}
