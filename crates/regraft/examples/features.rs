//! Ranks images by how similar they are to the first one, by their features:
//! `cargo run --release -p regraft --example features -- a.png b.png c.png`.

use regraft::inference::InferenceOptions;
use regraft::model::Model;
use regraft::{Classifier, Image};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let images: Vec<Image<'_>> = paths.iter().map(|path| Image::from(path.as_str())).collect();
    let mut classifier = Classifier::new(Model::embedded()?, &InferenceOptions::default())?;
    let features = classifier.features_batch(&images)?;
    let rows: Vec<&[f32]> = features.chunks((features.len() / paths.len().max(1)).max(1)).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = |row: &[f32]| dot(rows[0], row) / (dot(rows[0], rows[0]) * dot(row, row)).sqrt();
    let mut ranked: Vec<_> =
        paths.iter().zip(&rows).map(|(path, row)| (cosine(row), path)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.iter().for_each(|(similarity, path)| println!("{similarity:.3}  {path}"));
    Ok(())
}
