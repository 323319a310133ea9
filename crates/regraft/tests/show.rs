//! `show::grid` on images made here.
#![allow(missing_docs)]

use std::path::Path;

use regraft::data::RgbImage;
use regraft::data::augmentation::{Augmentation, AugmentationKind, training_pixels};
use regraft::data::catalogue::Sample;
use regraft::data::decode::{DecodeOptions, DecodeReason, decode};
use regraft::data::loader::{Loader, LoaderOptions, Transform};
use regraft::data::preprocessing::{Interpolation, Preprocessing, ResizeMode, evaluation_pixels};
use regraft::show::{Grid, ShowError, ShowOptions, grid, write_png};
use regraft_base::random::{Draws, Purpose};
use regraft_base::resample::{Filter, Rectangle, resize_rgb};

/// Pixels of 0 to 1, so that what a loader hands out can be compared with pixels.
fn preprocessing(image_size: u32) -> Preprocessing {
    let resize = ResizeMode::Crop { short_side: image_size * 8 / 7 };
    Preprocessing {
        image_size,
        resize,
        interpolation: Interpolation::Bicubic,
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}

/// An image of the fixture stream: large patches, so that crops and mirror images differ.
fn picture(number: u32, width: u32, height: u32) -> RgbImage {
    let mut draws = Draws::new(3, Purpose::Fixture, 0, number);
    let patches: Vec<[u8; 3]> =
        (0..16).map(|_| std::array::from_fn(|_| draws.next_u32() as u8)).collect();
    let patch =
        |row: u32, column: u32| patches[(row * 4 / height * 4 + column * 4 / width) as usize];
    let pixels =
        (0..height).flat_map(|row| (0..width).flat_map(move |column| patch(row, column))).collect();
    RgbImage { width, height, pixels }
}

/// Class folders with `counts` images, listed class by class.
fn folder_of(folder: &Path, counts: &[(&str, u32)]) -> (Vec<Sample>, Vec<String>) {
    let mut samples = Vec::new();
    for (&(class, count), label) in counts.iter().zip(0..) {
        std::fs::create_dir(folder.join(class)).unwrap();
        for number in 0..count {
            let path = folder.join(class).join(format!("{number:02}.png"));
            write_png(&path, &picture(label * 100 + number, 60 + 10 * number, 90)).unwrap();
            samples.push(Sample { path, label });
        }
    }
    (samples, counts.iter().map(|(class, _)| (*class).to_owned()).collect())
}

fn part(image: &RgbImage, area: Rectangle) -> Vec<u8> {
    let row_length = image.width as usize * 3;
    let rows = image.pixels.chunks(row_length).skip(area.top).take(area.height);
    rows.flat_map(|row| row[area.left * 3..(area.left + area.width) * 3].to_vec()).collect()
}

/// Every cell of a grid that shows pixels one to one is what evaluation and training make of the
/// image.
fn check_cells(grid: &Grid, preprocessing: &Preprocessing, options: &ShowOptions) {
    for shown in grid.shown.iter().flat_map(|class| &class.shown) {
        let image = decode(&shown.path, &DecodeOptions::default()).unwrap();
        assert_eq!(
            part(&grid.image, shown.evaluation),
            evaluation_pixels(&image, preprocessing).pixels
        );
        let mut draws = Draws::new(options.seed, Purpose::Augment, options.epoch, shown.sample);
        let expected = training_pixels(&image, preprocessing, &Augmentation::default(), &mut draws);
        assert_eq!(part(&grid.image, shown.augmented.unwrap()), expected.pixels);
    }
}

#[test]
fn cells_are_the_pixels_of_evaluation_and_training() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 5), ("dog", 3)]);
    let preprocessing = preprocessing(112);
    let options = ShowOptions { per_class: 4, seed: 9, epoch: 2, ..ShowOptions::default() };
    let grid = grid(
        &samples,
        &classes,
        &preprocessing,
        &Augmentation::default(),
        &options,
        &DecodeOptions::default(),
    )
    .unwrap();
    let summary: Vec<_> = grid
        .shown
        .iter()
        .map(|class| (class.class.as_str(), class.pictures, class.shown.len()))
        .collect();
    assert_eq!(summary, [("cat", 5, 4), ("dog", 3, 3)]);
    assert!(grid.unreadable.is_empty() && grid.left_out_classes.is_empty());
    for (class, label) in grid.shown.iter().zip(0..) {
        let mut places: Vec<u32> = class.shown.iter().map(|shown| shown.sample).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), class.shown.len(), "no image is shown twice");
        assert!(
            class.shown.iter().all(|shown| samples[shown.sample as usize]
                == Sample { path: shown.path.clone(), label })
        );
    }
    check_cells(&grid, &preprocessing, &options);
}

#[test]
fn augmented_cells_are_what_the_loader_hands_to_training() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 3), ("dog", 3)]);
    let preprocessing = preprocessing(112);
    let options = ShowOptions { per_class: 3, seed: 5, epoch: 1, ..ShowOptions::default() };
    let grid = grid(
        &samples,
        &classes,
        &preprocessing,
        &Augmentation::default(),
        &options,
        &DecodeOptions::default(),
    )
    .unwrap();
    let transform = Transform::Train { seed: 5, epoch: 1 };
    let loading = LoaderOptions { transform, workers: 1, ..LoaderOptions::new(preprocessing, 6) };
    let batch = Loader::start(samples.into(), (0..6).collect(), loading).next().unwrap().unwrap();
    for shown in grid.shown.iter().flat_map(|class| &class.shown) {
        let length = batch.pixels.len() / 6;
        let loaded = &batch.pixels[shown.sample as usize * length..][..length];
        assert_eq!(part(&grid.image, shown.augmented.unwrap()), loaded, "sample {}", shown.sample);
    }
}

#[test]
fn cells_do_not_overlap_and_lie_within_the_grid() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..10).map(|number| format!("class {number}")).collect();
    let counts: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    let (samples, classes) = folder_of(folder.path(), &counts);
    let grid_of = |image_size, per_class| {
        let options = ShowOptions { per_class, ..ShowOptions::default() };
        let (preprocessing, augmentation) = (preprocessing(image_size), Augmentation::default());
        grid(&samples, &classes, &preprocessing, &augmentation, &options, &DecodeOptions::default())
            .unwrap()
    };
    for (image_size, per_class) in [(224, 8), (224, 1), (32, 2)] {
        let grid = grid_of(image_size, per_class);
        assert!(
            grid.image.width <= 1920 && grid.image.height <= 1320,
            "{} x {}",
            grid.image.width,
            grid.image.height
        );
        let shown = grid.shown.iter().flat_map(|class| &class.shown);
        let cells: Vec<Rectangle> =
            shown.flat_map(|shown| [shown.evaluation, shown.augmented.unwrap()]).collect();
        assert_eq!(cells.len(), 20 * per_class.min(2));
        for (place, cell) in cells.iter().enumerate() {
            assert!(cell.width == cell.height && (72..=160).contains(&cell.width), "{cell:?}");
            assert!(
                cell.left + cell.width < grid.image.width as usize
                    && cell.top + cell.height < grid.image.height as usize
            );
            let apart = |other: &Rectangle| {
                let beside = |start: usize, other: usize| start.abs_diff(other) > cell.width;
                beside(cell.left, other.left) || beside(cell.top, other.top)
            };
            assert!(cells[..place].iter().all(apart), "{cell:?} overlaps another");
        }
    }
    assert_eq!(
        grid_of(32, 2).shown[0].shown[0].evaluation.width % 32,
        0,
        "small images are enlarged a whole number of times"
    );
}

#[test]
fn large_pictures_are_reduced_with_pillows_filter() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 1), ("dog", 1)]);
    let preprocessing = preprocessing(224);
    let options = ShowOptions::default();
    let grid = grid(
        &samples,
        &classes,
        &preprocessing,
        &Augmentation::default(),
        &options,
        &DecodeOptions::default(),
    )
    .unwrap();
    let shown = &grid.shown[1].shown[0];
    let square =
        evaluation_pixels(&decode(&shown.path, &DecodeOptions::default()).unwrap(), &preprocessing);
    let side = shown.evaluation.width;
    let (whole, outcome) = (Rectangle::whole(224, 224), Rectangle::whole(side, side));
    let mut expected = vec![0; side * side * 3];
    resize_rgb(
        &square.pixels,
        (224, 224),
        whole,
        (side, side),
        outcome,
        Filter::Bilinear,
        &mut expected,
    );
    assert_eq!(side, 160);
    assert_eq!(part(&grid.image, shown.evaluation), expected);
}

#[test]
fn the_same_arguments_give_the_same_grid_and_fewer_pictures_are_some_of_more() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 12), ("dog", 12)]);
    let grid_of = |per_class, seed, epoch| {
        let options = ShowOptions { per_class, seed, epoch, ..ShowOptions::default() };
        grid(
            &samples,
            &classes,
            &preprocessing(80),
            &Augmentation::default(),
            &options,
            &DecodeOptions::default(),
        )
        .unwrap()
    };
    let places = |grid: &Grid| -> Vec<u32> {
        grid.shown[0].shown.iter().map(|shown| shown.sample).collect()
    };
    let first = grid_of(6, 0, 0);
    assert_eq!(first, grid_of(6, 0, 0));
    assert_eq!(places(&grid_of(3, 0, 0)), places(&first)[..3]);
    assert_ne!(places(&grid_of(6, 1, 0)), places(&first), "another seed chooses other images");
    let later = grid_of(6, 0, 1);
    assert_eq!(places(&later), places(&first));
    let (shown, same) = (&first.shown[0].shown[0], &later.shown[0].shown[0]);
    assert_eq!(part(&first.image, shown.evaluation), part(&later.image, same.evaluation));
    assert_ne!(
        part(&first.image, shown.augmented.unwrap()),
        part(&later.image, same.augmented.unwrap())
    );
}

#[test]
fn unreadable_files_are_grey_cells_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 3), ("dog", 2)]);
    let intact = std::fs::read(&samples[1].path).unwrap();
    std::fs::write(&samples[1].path, &intact[..intact.len() / 2]).unwrap();
    std::fs::remove_file(&samples[4].path).unwrap();
    let options = ShowOptions::default();
    let grid = grid(
        &samples,
        &classes,
        &preprocessing(112),
        &Augmentation::default(),
        &options,
        &DecodeOptions::default(),
    )
    .unwrap();
    let unreadable: Vec<&Path> = grid.unreadable.iter().map(|error| error.path.as_path()).collect();
    assert_eq!(unreadable, [samples[1].path.as_path(), samples[4].path.as_path()]);
    assert!(
        matches!(grid.unreadable[1].reason, DecodeReason::Unreadable(_)),
        "{}",
        grid.unreadable[1]
    );
    for shown in grid.shown.iter().flat_map(|class| &class.shown) {
        for cell in [shown.evaluation, shown.augmented.unwrap()].map(|area| part(&grid.image, area))
        {
            let is_grey = cell
                .as_chunks::<3>()
                .0
                .iter()
                .all(|[red, green, blue]| red == green && green == blue);
            let background = cell.iter().filter(|&&level| level == 214).count();
            let has_text = background > cell.len() / 2 && background < cell.len();
            assert_eq!(
                is_grey && has_text,
                unreadable.contains(&shown.path.as_path()),
                "{}",
                shown.path.display()
            );
        }
    }
}

#[test]
fn pictures_beyond_the_limit_are_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 2), ("dog", 1)]);
    let limit = 60 * 90;
    let decode = DecodeOptions { max_pixels: limit, ..DecodeOptions::default() };
    let grid = grid(
        &samples,
        &classes,
        &preprocessing(80),
        &Augmentation::default(),
        &ShowOptions::default(),
        &decode,
    )
    .unwrap();
    assert_eq!(grid.unreadable.len(), 1);
    assert_eq!(
        grid.unreadable[0].reason,
        DecodeReason::TooLarge { width: 70, height: 90, max_pixels: limit }
    );
}

#[test]
fn classes_beyond_the_limit_are_named_and_those_without_pictures_shown_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) =
        folder_of(folder.path(), &[("ant", 1), ("bee", 0), ("cat", 2), ("dog", 1)]);
    let options = ShowOptions { classes: 2, ..ShowOptions::default() };
    let limited = grid(
        &samples,
        &classes,
        &preprocessing(80),
        &Augmentation::default(),
        &options,
        &DecodeOptions::default(),
    )
    .unwrap();
    assert_eq!(limited.left_out_classes, ["cat", "dog"]);
    let summary: Vec<_> = limited
        .shown
        .iter()
        .map(|class| (class.class.as_str(), class.pictures, class.shown.len()))
        .collect();
    assert_eq!(summary, [("ant", 1, 1), ("bee", 0, 0)]);
    let two = &samples[..1];
    let whole = grid(
        two,
        &classes[..2],
        &preprocessing(80),
        &Augmentation::default(),
        &options,
        &DecodeOptions::default(),
    )
    .unwrap();
    assert_eq!(whole.shown, limited.shown);
    assert!(whole.image.height < limited.image.height, "a line at the foot names what is left out");
}

#[test]
fn without_augmentation_there_is_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, classes) = folder_of(folder.path(), &[("cat", 2), ("dog", 2)]);
    let none = Augmentation { kind: AugmentationKind::None, ..Augmentation::default() };
    let unwanted = ShowOptions { augmented: false, ..ShowOptions::default() };
    for (augmentation, options) in
        [(none, ShowOptions::default()), (Augmentation::default(), unwanted)]
    {
        let grid = grid(
            &samples,
            &classes,
            &preprocessing(80),
            &augmentation,
            &options,
            &DecodeOptions::default(),
        )
        .unwrap();
        assert!(
            grid.shown.iter().flat_map(|class| &class.shown).all(|shown| shown.augmented.is_none())
        );
        let [first, second] =
            [&grid.shown[0], &grid.shown[1]].map(|class| class.shown[0].evaluation);
        assert!(second.top > first.top + first.height && second.top < first.top + 2 * first.height);
    }
}

#[test]
fn what_cannot_be_shown_is_an_error() {
    let sample = |label| Sample { path: "a.png".into(), label };
    let many: Vec<Sample> = (0..20_000).map(|_| sample(0)).collect();
    let classes = ["cat".to_owned(), "dog".to_owned()];
    let error = |samples: &[Sample],
                 preprocessing: &Preprocessing,
                 augmentation: &Augmentation,
                 options: &ShowOptions| {
        grid(samples, &classes, preprocessing, augmentation, options, &DecodeOptions::default())
            .unwrap_err()
    };
    let (good, basic, options) =
        (preprocessing(80), Augmentation::default(), ShowOptions::default());
    assert_eq!(error(&[], &good, &basic, &options), ShowError::NoPictures);
    let nothing = [
        ShowOptions { per_class: 0, ..options.clone() },
        ShowOptions { classes: 0, ..options.clone() },
    ];
    for options in nothing {
        assert_eq!(error(&[sample(0)], &good, &basic, &options), ShowError::NothingAskedFor);
    }
    let message = error(&[sample(2)], &good, &basic, &options).to_string();
    assert_eq!(message, "a.png: its label is 2, but there are only 2 classes");
    let too_many = ShowOptions { per_class: usize::MAX, ..options.clone() };
    assert!(matches!(
        error(&many, &good, &basic, &too_many),
        ShowError::TooLarge { width: 1_500_000.., .. }
    ));
    assert!(matches!(
        error(&[sample(0)], &preprocessing(0), &basic, &options),
        ShowError::Preprocessing(_)
    ));
    let backwards = Augmentation { crop_scale: [1.0, 0.5], ..basic };
    assert!(matches!(error(&[sample(0)], &good, &backwards, &options), ShowError::Augmentation(_)));
}

#[test]
fn a_png_holds_the_same_pixels_and_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid.png");
    std::fs::write(&path, "old").unwrap();
    let image = picture(1, 37, 21);
    write_png(&path, &image).unwrap();
    assert_eq!(decode(&path, &DecodeOptions::default()).unwrap(), image);
    let missing = folder.path().join("missing").join("grid.png");
    assert_eq!(write_png(&missing, &image).unwrap_err().path, missing);
}
