//! How many pictures a second the loader makes, from files to normalised batches, with the training transform:
//!
//! ```sh
//! cargo run --release -p regraft-data --example load -- FOLDER/train [WORKERS [BATCH]]
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use regraft_data::catalogue::{SplitOptions, scan};
use regraft_data::loader::{Loader, LoaderOptions, Transform};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use regraft_kernels::random::{Draws, Purpose};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("name a folder of class folders")?;
    let number = |place: usize, default: usize| arguments.get(place).map_or(Ok(default), |text| text.parse::<usize>());
    let (workers, batch_size) = (number(1, 2)?, number(2, 128)?);

    let catalogue = scan(Path::new(folder), &SplitOptions { hold_out: false, ..SplitOptions::default() })?;
    let samples: Arc<[_]> = catalogue.train.into();
    let preprocessing = Preprocessing {
        image_size: 224,
        resize: ResizeMode::Crop { short_side: 256 },
        interpolation: Interpolation::Bilinear,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    for epoch in 0..2 {
        let mut order: Vec<u32> = (0..samples.len() as u32).collect();
        Draws::new(0, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        let transform = Transform::Train { seed: 0, epoch };
        let options = LoaderOptions { workers, transform, ..LoaderOptions::new(preprocessing.clone(), batch_size) };
        let started = Instant::now();
        let mut loader = Loader::start(Arc::clone(&samples), order, options);
        let mut first = None;
        while let Some(batch) = loader.next() {
            loader.recycle(batch?);
            first.get_or_insert_with(|| started.elapsed());
        }
        let seconds = started.elapsed().as_secs_f64();
        let first = first.unwrap_or_default().as_secs_f64();
        println!(
            "epoch {}: {} pictures, {:.1} a second, first batch after {first:.2} s",
            epoch + 1,
            samples.len(),
            samples.len() as f64 / seconds
        );
    }
    Ok(())
}
