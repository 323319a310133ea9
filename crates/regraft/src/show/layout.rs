//! Where everything in a grid stands, and drawing it.

use std::path::Path;

use regraft_base::resample::Rectangle;
use regraft_data::RgbImage;
use regraft_data::augmentation::{Augmentation, AugmentationKind};
use regraft_data::catalogue::Sample;
use regraft_data::decode::DecodeError;
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};

use super::cells::{self, Cells};
use super::text::{self, Style};
use super::{Chosen, ShownClass, ShownPicture};

/// Cells are made as large as they can be, within the limits below, for the grid to fill a screen
/// of this size: with many classes they stand in several columns.
const AIMED_SIZE: (u32, u32) = (1920, 1200);
const LARGEST_CELL: u32 = 160;
const SMALLEST_CELL: u32 = 72;
/// As many as fit side by side where a class takes no more than [`NARROWEST_CLASS`].
const MOST_CLASS_COLUMNS: u64 = 5;

const MARGIN: u32 = 24;
/// Between cells.
const GAP: u32 = 6;
/// Between columns of classes.
const COLUMN_GAP: u32 = 36;
/// Between the images of a class and the line below them.
const ABOVE_LINE: u32 = 16;
/// Between a line and the name of the class below it.
const BELOW_LINE: u32 = 10;
/// Between the name of a class and its images.
const NAME_GAP: u32 = 5;
/// Between the names of the rows and their images, and between texts on a line.
const GUTTER: u32 = 12;
/// From one line of the head or foot to the next.
const LINE_STEP: u32 = 18;
/// Room for a class's name, however few its images.
const NARROWEST_CLASS: u32 = 320;
/// Room for the text above and below, however few the images.
const NARROWEST: u32 = 640;

const EVALUATION: &str = "evaluation";
const AUGMENTED: &str = "augmented";

const PAPER: [u8; 3] = [250; 3];
const INK: [u8; 3] = [40; 3];
const FAINT: [u8; 3] = [105; 3];
const LINE: [u8; 3] = [222; 3];
const OUTLINE: [u8; 3] = [196; 3];
const UNREADABLE: [u8; 3] = [214; 3];

/// The facts in the text of a grid.
pub(super) struct Settings<'a> {
    pub preprocessing: &'a Preprocessing,
    pub augmentation: &'a Augmentation,
    /// Seed and epoch of the augmented images, if they are shown.
    pub drawn: Option<(u64, u32)>,
    /// Classes that are not shown.
    pub left_out: &'a [String],
}

/// The measures of a grid, in pixels.
pub(super) struct Layout {
    pub cell_side: u32,
    /// Width between the margins.
    content_width: u32,
    /// Width of a column of classes.
    class_width: u32,
    /// Columns of pixels between a class's left edge and its first image.
    gutter: u32,
    title_note: String,
    heading: Vec<String>,
    /// Left edge and top of each class's name.
    corners: Vec<(u64, u64)>,
    /// Where the last class ends.
    end: u64,
}

impl Layout {
    pub fn new(chosen: &[Chosen<'_>], settings: &Settings<'_>) -> Self {
        let gutter = text::width(EVALUATION, Style::Body) + GUTTER;
        let pictures =
            chosen.iter().map(|class| class.samples.len()).max().unwrap_or(0).max(1) as u64;
        let rows: u32 = if settings.drawn.is_some() { 2 } else { 1 };
        let classes = chosen.len() as u64;
        let (class_columns, limit) = best_columns(classes, pictures, rows, gutter);
        let classes_high = classes.div_ceil(class_columns);
        let cell_side = cells::side(settings.preprocessing.image_size, limit);

        let row_width = u64::from(gutter) + pictures * u64::from(cell_side + GAP) - u64::from(GAP);
        // Far beyond the size that is refused.
        let class_width = row_width.clamp(NARROWEST_CLASS.into(), u64::from(u32::MAX / 16)) as u32;
        let all_columns = class_columns as u32 * (class_width + COLUMN_GAP) - COLUMN_GAP;
        let content_width = all_columns.max(NARROWEST);
        let heading = wrapped(&heading(settings), content_width);

        let first =
            u64::from(heading_top() + heading.len() as u32 * LINE_STEP + ABOVE_LINE + BELOW_LINE);
        let class_height = u64::from(name_height() + rows * (cell_side + GAP) - GAP);
        let step = class_height + u64::from(ABOVE_LINE + BELOW_LINE);
        let column_step = u64::from(class_width + COLUMN_GAP);
        let corner = |class| {
            (
                u64::from(MARGIN) + class / classes_high * column_step,
                first + class % classes_high * step,
            )
        };
        let corners = (0..classes).map(corner).collect();
        let end = first + classes_high * step - u64::from(ABOVE_LINE + BELOW_LINE);
        let size = settings.preprocessing.image_size;
        let title_note = if cell_side == size {
            "before normalisation".to_owned()
        } else {
            format!("before normalisation, shown at {cell_side} × {cell_side}")
        };
        Self { cell_side, content_width, class_width, gutter, title_note, heading, corners, end }
    }

    /// Width and height of the grid, without lines at its foot.
    pub fn size(&self) -> (u64, u64) {
        (u64::from(self.content_width + 2 * MARGIN), self.end + u64::from(MARGIN))
    }

    /// Draws the grid. `cells` are those of the chosen images, class by class. [`Layout::size`]
    /// must be one that memory can hold.
    pub fn draw(
        &self,
        samples: &[Sample],
        chosen: &[Chosen<'_>],
        settings: &Settings<'_>,
        cells: &[Result<Cells, DecodeError>],
    ) -> (RgbImage, Vec<ShownClass>) {
        let (width, height) = self.size();
        let unreadable = cells
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .map(|error| shown_name(&error.path));
        let footing = wrapped(
            &footing(chosen, settings, &unreadable.collect::<Vec<_>>()),
            self.content_width,
        );
        let foot =
            if footing.is_empty() { 0 } else { ABOVE_LINE + footing.len() as u32 * LINE_STEP };
        let mut image = RgbImage::filled(width as u32, height as u32 + foot, PAPER);
        let size = settings.preprocessing.image_size;
        let title = format!("Seen by the network: {size} × {size} pixels");
        draw_title(&mut image, (MARGIN, MARGIN), &title, &self.title_note);
        draw_lines(&mut image, heading_top(), &self.heading);
        let mut cells = cells.iter();
        let mut shown = Vec::with_capacity(chosen.len());
        for (class, &(left, top)) in chosen.iter().zip(&self.corners) {
            let pictures = class.samples.iter().copied().zip(&mut cells).collect::<Vec<_>>();
            let corner = (left as u32, top as u32);
            shown.push(self.draw_class(
                &mut image,
                corner,
                samples,
                class,
                settings.drawn.is_some(),
                &pictures,
            ));
        }
        draw_lines(&mut image, self.end as u32 + ABOVE_LINE, &footing);
        (image, shown)
    }

    /// A class: a line above it, its name, and its rows of images.
    fn draw_class(
        &self,
        image: &mut RgbImage,
        (left, top): (u32, u32),
        samples: &[Sample],
        class: &Chosen<'_>,
        has_augmented: bool,
        pictures: &[(u32, &Result<Cells, DecodeError>)],
    ) -> ShownClass {
        fill(image, rectangle(left, top - BELOW_LINE, self.class_width, 1), LINE);
        self.draw_name(image, (left, top), class);
        let first_row = top + name_height();
        let second_row = first_row + self.cell_side + GAP;
        if !pictures.is_empty() {
            self.draw_row_name(image, (left, first_row), EVALUATION);
            if has_augmented {
                self.draw_row_name(image, (left, second_row), AUGMENTED);
            }
        }
        let mut shown = Vec::with_capacity(pictures.len());
        for (&(sample, outcome), column) in pictures.iter().zip(0..) {
            let left = left + self.gutter + column * (self.cell_side + GAP);
            let path = &samples[sample as usize].path;
            let mut draw = |top: u32, picture: Option<&RgbImage>| {
                let cell = rectangle(left, top, self.cell_side, self.cell_side);
                fill(
                    image,
                    rectangle(left - 1, top - 1, self.cell_side + 2, self.cell_side + 2),
                    OUTLINE,
                );
                match picture {
                    Some(picture) => copy(image, cell, picture),
                    None => draw_unreadable(image, cell, path),
                }
                cell
            };
            let cells = outcome.as_ref().ok();
            let evaluation = draw(first_row, cells.map(|cells| &cells.evaluation));
            let augmented = has_augmented
                .then(|| draw(second_row, cells.and_then(|cells| cells.augmented.as_ref())));
            shown.push(ShownPicture { sample, path: path.clone(), evaluation, augmented });
        }
        ShownClass { class: class.class.to_owned(), pictures: class.pictures, shown }
    }

    fn draw_name(&self, image: &mut RgbImage, corner: (u32, u32), class: &Chosen<'_>) {
        let count = match (class.pictures, class.samples.len()) {
            (0, _) => "no images".to_owned(),
            (1, 1) => "1 image".to_owned(),
            (all, shown) if shown == all => format!("{all} images"),
            (all, shown) => format!("{shown} of {all} images"),
        };
        let count_width = text::width(&count, Style::Body) + GUTTER;
        let name = text::shortened(
            class.class,
            Style::Heading,
            self.class_width.saturating_sub(count_width),
        );
        draw_title(image, corner, &name, &count);
    }

    fn draw_row_name(&self, image: &mut RgbImage, (left, top): (u32, u32), name: &str) {
        let middle = top + (self.cell_side.saturating_sub(Style::Body.line_height())) / 2;
        text::draw(image, (left, middle), name, Style::Body, FAINT);
    }
}

/// Into how many columns the classes are best laid, and the largest side of a cell then.
fn best_columns(classes: u64, pictures: u64, rows: u32, gutter: u32) -> (u64, u32) {
    // The text above and below is not counted: the aim is rough.
    let (width, height) =
        (u64::from(AIMED_SIZE.0 - 2 * MARGIN), u64::from(AIMED_SIZE.1 - 2 * MARGIN));
    let side = |columns: u64| {
        let class_width = (width + u64::from(COLUMN_GAP)) / columns - u64::from(COLUMN_GAP);
        let by_width =
            (class_width.saturating_sub(gutter.into()) / pictures).saturating_sub(GAP.into());
        let taken = u64::from(name_height() + (rows - 1) * GAP + ABOVE_LINE + BELOW_LINE);
        let by_height =
            (height / classes.div_ceil(columns)).saturating_sub(taken) / u64::from(rows);
        by_width.min(by_height).min(LARGEST_CELL.into())
    };
    // Of columns that are equally good, the fewest.
    let columns = (1..=classes.min(MOST_CLASS_COLUMNS))
        .rev()
        .max_by_key(|&columns| side(columns))
        .unwrap_or(1);
    (columns, side(columns).max(SMALLEST_CELL.into()) as u32)
}

fn heading_top() -> u32 {
    MARGIN + Style::Heading.line_height() + 6
}

fn name_height() -> u32 {
    Style::Heading.line_height() + NAME_GAP
}

fn rectangle(left: u32, top: u32, width: u32, height: u32) -> Rectangle {
    Rectangle {
        left: left as usize,
        top: top as usize,
        width: width as usize,
        height: height as usize,
    }
}

/// A title with a note behind it, on one baseline.
fn draw_title(image: &mut RgbImage, (left, top): (u32, u32), title: &str, note: &str) {
    let end = text::draw(image, (left, top), title, Style::Heading, INK);
    let lower = Style::Heading.baseline() - Style::Body.baseline();
    text::draw(image, (end + GUTTER, top + lower), note, Style::Body, FAINT);
}

fn draw_lines(image: &mut RgbImage, top: u32, lines: &[String]) {
    for (line, place) in lines.iter().zip(0..) {
        text::draw(image, (MARGIN, top + place * LINE_STEP), line, Style::Body, FAINT);
    }
}

/// A file's name, whatever its encoding.
fn shown_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn draw_unreadable(image: &mut RgbImage, cell: Rectangle, path: &Path) {
    fill(image, cell, UNREADABLE);
    let (left, top, side) = (cell.left as u32, cell.top as u32, cell.width as u32);
    let name = shown_name(path);
    let line_height = Style::Body.line_height();
    let lines = [("unreadable", INK), (&*name, FAINT)];
    let first = top + (side / 2).saturating_sub(line_height);
    for ((line, colour), place) in lines.into_iter().zip(0..) {
        let line = text::shortened(line, Style::Body, side.saturating_sub(8));
        let width = text::width(&line, Style::Body);
        text::draw(
            image,
            (left + side.saturating_sub(width) / 2, first + place * line_height),
            &line,
            Style::Body,
            colour,
        );
    }
}

/// The lines under the title.
fn heading(settings: &Settings<'_>) -> Vec<String> {
    let Settings { preprocessing, augmentation, drawn, .. } = settings;
    let size = preprocessing.image_size;
    let filter = match preprocessing.interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    let resize = match preprocessing.resize {
        ResizeMode::Crop { short_side } => {
            format!("short side to {short_side} pixels, centre {size} × {size} cut out")
        }
        ResizeMode::Squash => format!("both sides to {size} pixels, whatever the shape"),
        ResizeMode::Letterbox => {
            format!("long side to {size} pixels, the rest filled with the mean colour")
        }
    };
    let mut lines = vec![format!("{EVALUATION}: {resize}; {filter}")];
    match (drawn, augmentation.kind) {
        (Some((seed, epoch)), _) => {
            let [smallest, largest] = augmentation.crop_scale.map(percent);
            let [narrowest, widest] = augmentation.crop_ratio;
            let flip = percent(augmentation.flip_probability);
            // Users count epochs from one.
            let epoch = u64::from(*epoch) + 1;
            let operation = match augmentation.kind {
                AugmentationKind::None | AugmentationKind::Basic => "",
                AugmentationKind::Trivial => "; one operation of TrivialAugment",
                AugmentationKind::Rand => "; two operations of RandAugment",
            };
            lines.push(format!(
                "{AUGMENTED}: random crop of {smallest} to {largest} % of the area, width / \
                 height {narrowest:.2} to {widest:.2}, \
                 to {size} × {size}, {filter}; mirrored in {flip} % of cases{operation}; as drawn \
                     in epoch {epoch} with seed {seed}"
            ));
        }
        (None, AugmentationKind::None) => {
            lines.push("training does not augment: it sees the same pixels".to_owned())
        }
        (None, AugmentationKind::Basic | AugmentationKind::Trivial | AugmentationKind::Rand) => {}
    }
    lines
}

/// The lines at the bottom, on images that are not shown, or not as they should be.
fn footing(chosen: &[Chosen<'_>], settings: &Settings<'_>, unreadable: &[String]) -> Vec<String> {
    const NAMED: usize = 12;
    let mut lines = Vec::new();
    let left_out = settings.left_out;
    if !left_out.is_empty() {
        let named = left_out[..left_out.len().min(NAMED)].join(", ");
        let more = if left_out.len() > NAMED {
            format!(" and {} more", left_out.len() - NAMED)
        } else {
            String::new()
        };
        let noun = if left_out.len() == 1 { "class is" } else { "classes are" };
        lines.push(format!("{} {noun} not shown: {named}{more}", left_out.len()));
    }
    let classes = chosen.iter().map(|class| class.class);
    if lines
        .iter()
        .chain(unreadable)
        .map(String::as_str)
        .chain(classes)
        .any(text::has_missing_glyph)
    {
        lines.push("A box stands for a character that the built-in fonts do not have.".to_owned());
    }
    lines
}

fn wrapped(lines: &[String], width: u32) -> Vec<String> {
    lines.iter().flat_map(|line| text::wrapped(line, Style::Body, width)).collect()
}

/// A part of one as a percentage, with a decimal only where it needs one.
fn percent(part: f32) -> String {
    let percent = format!("{:.1}", f64::from(part) * 100.0);
    percent.strip_suffix(".0").map(str::to_owned).unwrap_or(percent)
}

fn fill(image: &mut RgbImage, area: Rectangle, colour: [u8; 3]) {
    for row in rows_of(image, area) {
        row.as_chunks_mut::<3>().0.fill(colour);
    }
}

fn copy(image: &mut RgbImage, area: Rectangle, picture: &RgbImage) {
    for (row, source) in rows_of(image, area).zip(picture.pixels.chunks_exact(area.width * 3)) {
        row.copy_from_slice(source);
    }
}

fn rows_of(image: &mut RgbImage, area: Rectangle) -> impl Iterator<Item = &mut [u8]> {
    let rows =
        image.pixels.chunks_exact_mut(image.width as usize * 3).skip(area.top).take(area.height);
    rows.map(move |row| &mut row[area.left * 3..(area.left + area.width) * 3])
}
