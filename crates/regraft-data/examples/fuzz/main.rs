//! Reads randomly changed copies of test images, tables or archives for as long as you like, with
//! any toolchain:
//!
//! ```sh
//! cargo run --release -p regraft-data --example fuzz -- \
//!     [--kind images|tables|archives] [--seconds 60] [--seed 0] \
//!     [--keep FOLDER] [MORE FILES...]
//! ```
//!
//! It stops if something happens that must not: a panic outside an image decoder, pixels that do
//! not fit their image, a label without a class, or a file outside its folder. Files that make a
//! decoder panic and slow files are counted and kept in `--keep`. (`fuzz/` does the same with
//! `cargo fuzz`, which is guided by coverage.)

mod body;
mod data_files;
mod seeds;

use regraft_base::random::{Draws, Purpose};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// If a file takes longer, it is kept.
const SLOW: Duration = Duration::from_secs(2);
/// Values at the limits of header fields.
const EDGES: [u32; 12] =
    [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Images,
    Tables,
    Archives,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut kind, mut seconds, mut seed, mut keep) =
        (Kind::Images, 60.0, 0u64, std::env::temp_dir());
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--kind" => {
                kind = match value()?.as_str() {
                    "images" => Kind::Images,
                    "tables" => Kind::Tables,
                    "archives" => Kind::Archives,
                    other => {
                        return Err(format!("{other}: is not images, tables or archives").into());
                    }
                }
            }
            "--seconds" => seconds = value()?.parse()?,
            "--seed" => seed = value()?.parse()?,
            "--keep" => keep = value()?.into(),
            _ => paths.push(argument.into()),
        }
    }
    let mut seeds = match kind {
        Kind::Images => images()?,
        Kind::Tables => seeds::tables(),
        Kind::Archives => seeds::archives()?,
    };
    seeds.extend(paths.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?);
    std::fs::create_dir_all(&keep)?;
    let folder = tempfile::TempDir::new()?;
    let (started, mut round, mut panics, mut slow) = (Instant::now(), 0u32, 0, 0);
    while started.elapsed().as_secs_f64() < seconds {
        let mut draws = Draws::new(seed, Purpose::Fixture, round, 0);
        let mut bytes = changed(&seeds, &mut draws);
        if kind == Kind::Archives && draws.below(2) == 0 {
            seeds::mend_tar(&mut bytes);
            if draws.below(2) == 0 {
                let mut packed =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(&bytes)?;
                bytes = packed.finish()?;
            }
        }
        // Written before the attempt, so that it remains if the program ends.
        let current = keep.join("regraft-fuzz-current");
        std::fs::write(&current, &bytes)?;
        let began = Instant::now();
        match kind {
            Kind::Images => {
                if let Some(reason) = body::bytes_to_tensors(&bytes) {
                    panics += 1;
                    println!("round {round}: {reason}");
                    std::fs::copy(
                        &current,
                        keep.join(format!("regraft-fuzz-panic-{seed}-{round}")),
                    )?;
                }
            }
            Kind::Tables => data_files::table(&bytes, folder.path()),
            Kind::Archives => {
                let inner = folder.path().join("archive");
                std::fs::create_dir(&inner)?;
                data_files::archive(&bytes, &inner);
                std::fs::remove_dir_all(&inner)?;
            }
        }
        if began.elapsed() > SLOW {
            slow += 1;
            println!("round {round}: took {:.1} s", began.elapsed().as_secs_f64());
            std::fs::copy(&current, keep.join(format!("regraft-fuzz-slow-{seed}-{round}")))?;
        }
        round += 1;
    }
    println!(
        "{round} files, {panics} decoders' panics, {slow} slow files (kept in {})",
        keep.display()
    );
    Ok(())
}

/// The images of the tests.
fn images() -> std::io::Result<Vec<Vec<u8>>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in ["pictures", "large", "jpeg", "orientation", "tiff", "kinds"] {
        for entry in std::fs::read_dir(fixtures.join(folder))? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

/// A seed with one to eight changes.
fn changed(seeds: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = seeds[draws.below(seeds.len() as u32) as usize].clone();
    for _ in 0..=draws.below(8) {
        if bytes.is_empty() {
            break;
        }
        let place = draws.below(bytes.len() as u32) as usize;
        // Headers are at the start and matter most.
        let place = if draws.below(2) == 0 { place % 300.min(bytes.len()) } else { place };
        let length = (1 + draws.below(64) as usize).min(bytes.len() - place);
        match draws.below(9) {
            0 => bytes[place] ^= 1 << draws.below(8),
            1 => bytes[place] = draws.below(256) as u8,
            2 => bytes[place] = EDGES[draws.below(7) as usize] as u8,
            3 => {
                let edge = EDGES[draws.below(EDGES.len() as u32) as usize];
                let word =
                    if draws.below(2) == 0 { edge.to_be_bytes() } else { edge.to_le_bytes() };
                let width = if draws.below(2) == 0 { 2 } else { 4 };
                for (target, byte) in bytes[place..].iter_mut().zip(&word[4 - width..]) {
                    *target = *byte;
                }
            }
            4 => {
                bytes.drain(place..place + length);
            }
            5 => {
                let copy = bytes[place..place + length].to_vec();
                bytes.splice(place..place, copy);
            }
            6 => {
                let from = draws.below((bytes.len() - length + 1) as u32) as usize;
                bytes.copy_within(from..from + length, place);
            }
            7 => bytes.truncate(place),
            // The end of another file.
            _ => {
                let other = &seeds[draws.below(seeds.len() as u32) as usize];
                let from = draws.below(other.len().max(1) as u32) as usize;
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from.min(other.len())..]);
            }
        }
    }
    bytes
}
