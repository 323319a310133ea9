//! Prints the kernels of a training step with the bytes that they move, and the time that these
//! bytes and the multiply-adds would take at given rates. Needs no GPU.
//!
//!     cargo run --release -p regraft-gpu --example traffic -- resnet18 224 256 f16 2885 42.6
//!
//! The rates are GB/s of memory and TFLOP/s of products: as defaults, those that wgpu reached on an
//! H100 in f32 without matrix units.

use regraft_gpu::work;
use regraft_nn::architectures;
use regraft_nn::precision::Precision;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (name, size, batch) = (next("resnet18"), next("224").parse()?, next("64").parse()?);
    let precision = match next("f32").as_str() {
        "f16" => Precision::F16,
        _ => Precision::F32,
    };
    let (gigabytes, teraflops): (f64, f64) = (next("2885").parse()?, next("42.6").parse()?);
    let architecture = architectures::find(&name).ok_or("no such architecture")?;
    let counted = work(architecture.graph(), size, batch, precision)?;
    println!("| kernel | dispatches | GB | ms at {gigabytes} GB/s |\n|---|---|---|---|");
    let mut kernels = counted.kernels;
    kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.bytes));
    let milliseconds = |bytes: u64| bytes as f64 / gigabytes / 1e6;
    for kernel in &kernels {
        let (bytes, time) = (kernel.bytes as f64 / 1e9, milliseconds(kernel.bytes));
        println!("| {} | {} | {bytes:.3} | {time:.2} |", kernel.kernel, kernel.dispatches);
    }
    let is_product = |name: &str| name.starts_with("convolution_");
    let others = kernels.iter().filter(|kernel| !is_product(&kernel.kernel));
    let other: u64 = others.map(|kernel| kernel.bytes).sum();
    let dispatches: u64 = kernels.iter().map(|kernel| kernel.dispatches).sum();
    let products = 2.0 * counted.multiply_adds as f64 / teraflops / 1e9;
    let launches = dispatches as f64 * 2.1e-3;
    let all = products + milliseconds(other) + launches;
    println!(
        "\n{name}, {size} pixels, batch {batch}, {}: {:.2} GiB of feature maps; products \
         {products:.1} ms at {teraflops} TFLOP/s, other kernels {:.1} ms, \
         {dispatches} launches {launches:.1} ms: {:.0} images/s",
        precision.name(),
        counted.memory as f64 / (1u64 << 30) as f64,
        milliseconds(other),
        batch as f64 / all * 1e3
    );
    Ok(())
}
