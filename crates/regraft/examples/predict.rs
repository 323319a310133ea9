//! Classifies images with a trained model:
//! `cargo run --release -p regraft --example predict -- runs/fashion a.png b.png`.

use regraft::{Classifier, Image};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut classifier = Classifier::load(arguments.next().ok_or("name a run folder")?)?;
    let paths: Vec<PathBuf> = arguments.collect();
    // Together, images take less time than one by one with `Classifier::predict`.
    let images: Vec<Image<'_>> = paths.iter().map(Image::from).collect();
    for (path, classes) in paths.iter().zip(classifier.predict_batch(&images)?) {
        let best = classes.best();
        println!("{}: {} ({:.1} %)", path.display(), best.class, 100.0 * best.probability);
    }
    Ok(())
}
