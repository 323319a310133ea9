//! Fine-tunes the embedded model on a folder of images:
//! `cargo run --release -p regraft --example train -- sample/fashion`.

use regraft::config::Freeze;
use regraft::train::{Event, Outcome, Settings};
use regraft::{TrainConfig, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::args_os().nth(1).ok_or("name a folder of images")?;
    // The layers above `blocks.5` learn for two epochs, after the head has been fitted.
    let freeze = Freeze::Through("blocks.5".into());
    let config = TrainConfig::builder(data).freeze(freeze).epochs(2).build()?;
    let outcome = train(&config, &Settings::default(), &mut |event| {
        if let Event::Epoch { row, .. } = event {
            println!("epoch {}: loss {:.3}", row.epoch, row.train_loss);
        }
    })?;
    if let Outcome::Finished(run) = outcome {
        println!("test accuracy {:?}, in {:?}", run.summary.test_accuracy, run.folder);
    }
    Ok(())
}
