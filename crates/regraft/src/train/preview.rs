//! The images that a run would train on, and how an epoch would see them, without training.

use super::feed::view;
use super::setup::{loading, resolve};
use super::source::{hub_event, named};
use super::{Event, Report, TrainError};
use crate::config::{Freeze, OnBadImage, TrainConfig, Weights};
use crate::hub::{self, Freshness, HubSettings, Need};
use crate::hub_config::HubConfig;
use crate::model::{DEFAULT_ARCHITECTURE, Model, ModelError, architecture, source_preprocessing};
use crate::pictures::{self, ignored_note};
use crate::progress::from_any_thread;
use crate::ranks::Ranks;
use crate::source_model::SourceModel;
use regraft_data::catalogue::Sample;
use regraft_data::loader::{LoaderOptions, Transform};
use regraft_data::preprocessing::Preprocessing;
use std::sync::Arc;

/// The images that a run would train on.
#[derive(Debug)]
pub struct Preview {
    /// The configuration with everything filled in that follows from the source model.
    pub config: TrainConfig,
    /// Class names in the order of the labels.
    pub classes: Vec<String>,
    /// The training images, in the order in which the run numbers them.
    pub train: Arc<[Sample]>,
    /// How the epoch loads them.
    pub loading: LoaderOptions,
    /// Notes to the user, one sentence each.
    pub notes: Vec<String>,
}

/// Lists the images that a run with this configuration would train on, and says how it would load
/// them in an epoch, counted from 0.
///
/// A source model's weights are not needed unless a file is named. Files are opened only if
/// unreadable ones are skipped, because the run numbers its images without them.
///
/// # Errors
/// As [`super::train`] before its first step; but unreadable images stop nothing.
pub fn preview(
    config: &TrainConfig,
    epoch: u32,
    report: &mut Report<'_>,
) -> Result<Preview, TrainError> {
    config.check()?;
    let (config, name, prepared, mut notes) = source(config, report)?;
    let config = &config;
    let (config, preprocessing, augmentation) = resolve(config, &name, &prepared)?;
    let transform = Transform::Train { seed: config.seed, epoch: view(&config, epoch) };
    let loading = LoaderOptions { transform, ..loading(&config, &preprocessing, &augmentation) };
    let tell = from_any_thread(report);
    let progress = |progress| tell(Event::Progress(progress));
    let (classes, train) = match config.on_bad_image {
        OnBadImage::Skip => {
            let listed =
                pictures::list(&config, &progress).map_err(pictures::PicturesError::from)?;
            let found = pictures::prepare(&config, &loading, listed, &Ranks::default(), &progress)?;
            notes.extend(found.notes);
            (found.classes, found.train)
        }
        OnBadImage::Stop => {
            let found =
                pictures::list(&config, &progress).map_err(pictures::PicturesError::from)?;
            notes.extend(found.notes);
            notes.extend(found.held_out.into_iter().chain(ignored_note(&found.ignored)));
            (found.classes, found.train.into())
        }
    };
    Ok(Preview { config, classes, train, loading, notes })
}

/// A configuration with everything filled in that follows from its source model, as a run would use
/// it. If a trial is to decide the depth, the options that depend on it stay open.
///
/// # Errors
/// If an option is wrong, or the weight file cannot be read.
pub fn resolved(config: &TrainConfig, report: &mut Report<'_>) -> Result<TrainConfig, TrainError> {
    config.check()?;
    let (config, name, prepared, _) = source(config, report)?;
    let config = &config;
    let (resolved, ..) = resolve(config, &name, &prepared)?;
    if !config.decides_depth() {
        return Ok(resolved);
    }
    let (freeze, epochs, lr) = (Some(Freeze::Auto), config.epochs, config.lr);
    Ok(TrainConfig { freeze, epochs, lr, ..resolved })
}

/// The configuration with a commit for weights of a hub, the source model's architecture, its
/// preprocessing, and notes on it.
fn source(
    config: &TrainConfig,
    report: &mut Report<'_>,
) -> Result<(TrainConfig, String, Preprocessing, Vec<String>), TrainError> {
    let mut config = named(config)?;
    if let Some(Weights::File(path)) = &config.weights {
        let source = Model::load(path, config.model.as_deref())?;
        let architecture = source.architecture().to_owned();
        return Ok((config, architecture, source.preprocessing, source.notes));
    }
    let settings = HubSettings::from_env();
    let mut notes = Vec::new();
    let found = match SourceModel::of(&config)?.on_hub()? {
        Some((source, Freshness::Newest)) => {
            let mut report = |event| report(hub_event(event));
            let need = Need::Configuration;
            let found = hub::find(&source, need, Freshness::Newest, &settings, &mut report);
            let found = found.map_err(ModelError::from)?;
            config.weights = Some(Weights::Hub(found.source.clone()));
            Some(found)
        }
        // Nothing is downloaded that was not asked for by name.
        Some((source, Freshness::Cached)) => {
            let found = hub::find_cached(&source, Need::Configuration, &settings).ok();
            if found.is_none() {
                notes.push(format!(
                    "images are shown as the usual weights prepare them; the config.json of {} is \
                     not in the cache, and may differ",
                    source.repository()
                ));
            }
            found
        }
        None => None,
    };
    let hub = match found {
        Some(found) => HubConfig::of_folder(&found.folder).map_err(ModelError::from)?,
        None => None,
    };
    let asked = config.model.as_deref();
    if let Some(hub) = hub {
        check_architecture(asked, &hub)?;
        notes.extend(hub.notes);
        return Ok((config, hub.architecture.name.to_owned(), hub.preprocessing, notes));
    }
    let named = match (asked, &config.weights) {
        (None, Some(Weights::Hub(source))) => {
            return Err(ModelError::NoArchitecture { origin: source.to_string() }.into());
        }
        (asked, _) => architecture(asked.unwrap_or(DEFAULT_ARCHITECTURE))?,
    };
    Ok((config, named.name.to_owned(), source_preprocessing(named), notes))
}

/// Refuses weights of another architecture than the one that is asked for.
fn check_architecture(asked: Option<&str>, hub: &HubConfig) -> Result<(), ModelError> {
    let Some(asked) = asked.map(architecture).transpose()? else { return Ok(()) };
    if asked.name == hub.architecture.name {
        return Ok(());
    }
    Err(ModelError::OtherArchitecture {
        origin: hub.path().display().to_string(),
        asked: asked.name.into(),
        found: hub.architecture.name.into(),
    })
}

#[cfg(all(test, feature = "embedded", feature = "show"))]
mod tests {
    use super::*;
    use crate::config::{HeadStart, Recipe};
    use crate::show::{ShowOptions, grid, write_png};
    use crate::train::feed::{Batches, Content, Feed};
    use crate::train::observer::Observer;
    use crate::train::setup::{Setup, set_up};
    use regraft_base::random::{Draws, Purpose};
    use regraft_base::resample::Rectangle;
    use regraft_data::RgbImage;
    use regraft_data::augmentation::AugmentationKind;
    use std::num::NonZeroU32;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    /// Class folders of images with large patches, so that crops and mirror images differ.
    fn write_photos(folder: &Path) {
        for (class, first) in [("cat", 0), ("dog", 100)] {
            std::fs::create_dir(folder.join(class)).expect("a folder");
            for number in 0..10 {
                let mut draws = Draws::new(3, Purpose::Fixture, 0, first + number);
                let patches: Vec<[u8; 3]> =
                    (0..16).map(|_| std::array::from_fn(|_| draws.next_u32() as u8)).collect();
                let (width, height) = (150 + 5 * number, 140);
                let patch = |row: u32, column: u32| {
                    patches[(row * 4 / height * 4 + column * 4 / width) as usize]
                };
                let pixels = (0..height)
                    .flat_map(|row| (0..width).flat_map(move |column| patch(row, column)))
                    .collect();
                let path = folder.join(class).join(format!("{number:02}.png"));
                write_png(&path, &RgbImage { width, height, pixels }).expect("written");
            }
        }
    }

    fn part(image: &RgbImage, area: Rectangle) -> Vec<u8> {
        let rows = image.pixels.chunks(image.width as usize * 3).skip(area.top).take(area.height);
        rows.flat_map(|row| row[area.left * 3..(area.left + area.width) * 3].to_vec()).collect()
    }

    /// Compares every tile with the input of the training loop, bit by bit.
    fn check(config: &TrainConfig, epoch: u32, images: usize) {
        let mut report = |_: Event| {};
        let stop = AtomicBool::new(false);
        let mut observer = Observer { report: &mut report, stop: &stop, ranks: &Ranks::default() };
        let setup = set_up(config, None, None, &mut observer).expect("a run");
        assert_eq!(setup.pictures.train.len(), images);
        let Setup { config: resolved, engine, pictures, loading, .. } = setup;
        let feed = Feed::new(&resolved, engine, &pictures, &loading, observer.ranks);
        let (mut feed, _engine) = feed.expect("a feed");
        let order = (0..images as u32).collect();
        let mut batches = feed.batches(epoch, order, &mut observer).expect("batches");
        assert!(matches!(batches, Batches::Pictures(..)));
        let trained = batches.next().expect("a batch").expect("images");
        let Content::Pixels(trained, ..) = trained.content else { panic!("images") };

        let found = preview(config, epoch, &mut report).expect("a preview");
        assert_eq!((&found.config, &found.train[..]), (&resolved, &pictures.train[..]));
        let Transform::Train { seed, epoch } = found.loading.transform else {
            panic!("{:?}", found.loading)
        };
        let options = ShowOptions { per_class: images, seed, epoch, ..ShowOptions::default() };
        let LoaderOptions { preprocessing, augmentation, decode, .. } = &found.loading;
        let shown =
            grid(&found.train, &found.classes, preprocessing, augmentation, &options, decode)
                .expect("a grid");
        let tiles: Vec<_> = shown.shown.iter().flat_map(|class| &class.shown).collect();
        assert_eq!(tiles.len(), images);
        let length = preprocessing.input_length();
        for tile in tiles {
            let expected = &trained[tile.sample as usize * length..][..length];
            assert!(
                part(&shown.image, tile.augmented.expect("a tile")) == expected,
                "{}",
                tile.path.display()
            );
        }
    }

    #[test]
    fn a_tile_is_what_training_sees_to_the_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        write_photos(folder.path());
        let base = TrainConfig {
            image_size: Some(112),
            head: Some(HeadStart::New),
            freeze: Some(Freeze::None),
            epochs: Some(2),
            seed: 5,
            ..TrainConfig::recipe(Recipe::Default, folder.path())
        };
        // A fifth of class folders is held out to choose the epoch.
        check(&base, 0, 16);
        check(&base, 1, 16);
        check(&TrainConfig { val_fraction: Some(0.0), ..base.clone() }, 0, 20);
        check(&TrainConfig { val_fraction: Some(0.5), random_erasing: 0.5, ..base.clone() }, 0, 10);
        check(
            &TrainConfig {
                augment: AugmentationKind::Trivial,
                views: NonZeroU32::new(1),
                ..base.clone()
            },
            1,
            16,
        );
        // Without epochs nothing is held out.
        let fitted = TrainConfig { epochs: None, head: None, freeze: None, ..base.clone() };
        let found = preview(&fitted, 0, &mut |_| {}).expect("a preview");
        assert_eq!((found.train.len(), found.config.epoch_count()), (20, 0));
        // A list of exclusions and unreadable files move the numbers of the images after them.
        std::fs::write(folder.path().join("cat/03.png"), "no image").expect("written");
        let list = folder.path().join("out.csv");
        std::fs::write(&list, "path\ncat/00.png\n").expect("written");
        check(
            &TrainConfig {
                exclude: Some(list),
                on_bad_image: OnBadImage::Skip,
                val_fraction: Some(0.0),
                ..base
            },
            0,
            18,
        );
    }
}
