//! The images that an exported file is checked on.

use regraft::config::{ConfigError, TrainConfig};
use regraft::data::catalogue::{Catalogue, CatalogueError};
use regraft::data::inputs::expand;
use regraft::data::source::unpack_folder;
use regraft::pictures;
use regraft::run_folder::CONFIG;
use std::path::{Path, PathBuf};

/// The most images of a check: enough for every kind of image in most folders, in a few seconds.
pub const MOST_IMAGES: usize = 64;

/// Why a run's images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoImages {
    /// The model is not in a run folder.
    #[error(
        "{} is not a run folder, so it does not say which images it was trained on",
        .path.display()
    )]
    NotARun {
        /// The given path.
        path: PathBuf,
    },
    /// The run's options cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The images are gone.
    #[error("the run's images cannot be listed: {0}")]
    Catalogue(#[from] CatalogueError),
}

/// Up to [`MOST_IMAGES`] of a run's images, test images first, evenly spread over all of them.
/// `run` is the run folder or the model file in it.
///
/// # Errors
/// If it is not a run, or its images are gone.
pub fn of_run(run: &Path) -> Result<Vec<PathBuf>, NoImages> {
    let folder = if run.is_dir() { run } else { run.parent().unwrap_or(run) };
    let config = folder.join(CONFIG);
    if !config.is_file() {
        return Err(NoImages::NotARun { path: run.to_owned() });
    }
    let Catalogue { train, validation, test, .. } =
        pictures::list(&TrainConfig::read(&config)?, &|_| {})?;
    let paths = [test, validation, train].into_iter().flatten().map(|sample| sample.path).collect();
    Ok(spread(paths))
}

/// Up to [`MOST_IMAGES`] of a folder's images, evenly spread over all of them.
///
/// # Errors
/// If the folder cannot be read.
pub fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    Ok(spread(expand(&[folder], &unpack_folder())?.paths))
}

/// At most [`MOST_IMAGES`] entries of a list, at equal distances.
fn spread(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let count = paths.len().min(MOST_IMAGES);
    (0..count).map(|place| paths[place * paths.len() / count].clone()).collect()
}
