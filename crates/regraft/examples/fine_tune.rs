//! Fine-tunes the embedded model on a folder, then asks the result about a picture: `cargo run
//! --release -p regraft --example fine_tune -- sample/fashion sample/fashion/test/bag/00030.png`.

use regraft::config::{Freeze, PrecisionChoice, Recipe, TrainConfig};
use regraft::data::loader::LoaderOptions;
use regraft::engines::DeviceChoice;
use regraft::inference;
use regraft::model::Model;
use regraft::predict::predict;
use regraft::train::{Event, Outcome, Settings, train};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let data = arguments.next().ok_or("give a folder of pictures")?;
    let picture = arguments.next().ok_or("give a picture")?;

    // The default recipe fits the head; from there on, the layers above `blocks.5` learn for two
    // epochs.
    let freeze = Some(Freeze::Through("blocks.5".into()));
    let config =
        TrainConfig { freeze, epochs: Some(2), ..TrainConfig::recipe(Recipe::Default, &data) };
    let outcome = train(&config, &Settings::default(), &mut |event| {
        if let Event::Epoch { row, .. } = event {
            println!(
                "epoch {}: loss {:.3}, validation accuracy {:?}",
                row.epoch, row.train_loss, row.validation_accuracy
            );
        }
    })?;
    let Outcome::Finished(outcome) = outcome else { return Ok(()) };
    let folder = outcome.folder.unwrap_or_default();
    println!("test accuracy {:?}, in {}", outcome.summary.test_accuracy, folder.display());

    // The model file says how pictures are prepared and what the classes are called.
    let model = Model::load(&folder, None)?.into_classifier()?;
    let mut engine = inference::engine(&model, &DeviceChoice::Auto, 0, PrecisionChoice::F32)?;
    let options = LoaderOptions::new(model.preprocessing.clone(), 1);
    for prediction in predict(&mut *engine, &[picture], &model.classes, 3, options, &mut |_| {})? {
        for guess in prediction.top {
            println!("{:6.2} %  {}", 100.0 * guess.probability, guess.class);
        }
    }
    Ok(())
}
