//! Text on an image, with fonts that are part of the program, so that it looks the same on every
//! machine.
//!
//! Latin letters are Noto Sans Mono's, smoothed. What it lacks comes from GNU Unifont: 16-pixel
//! bitmaps of nearly all characters up to U+FFFF, and so of the scripts in use (1.9 MB in the
//! program). Beyond that, as for emoji, a box is drawn. Right-to-left text is put in its visual
//! order and Arabic letters are joined; marks are drawn over the letter before them. Scripts that
//! need more shaping (Devanagari, say) show their letters one by one.

use noto_sans_mono_bitmap::{
    FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width,
};
use regraft_data::RgbImage;
use unicode_bidi::BidiInfo;
use unicode_width::UnicodeWidthChar;

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Plain text in lines of 16 pixels.
    Body,
    /// Bold text in lines of 20 pixels.
    Heading,
}

impl Style {
    /// Pixels from the top of a line to the top of the next.
    pub fn line_height(self) -> u32 {
        self.raster_height().val() as u32
    }

    fn raster_height(self) -> RasterHeight {
        match self {
            Self::Body => RasterHeight::Size16,
            Self::Heading => RasterHeight::Size20,
        }
    }

    fn weight(self) -> FontWeight {
        match self {
            Self::Body => FontWeight::Regular,
            Self::Heading => FontWeight::Bold,
        }
    }

    /// Rows from the top of a line to its baseline, in Noto Sans Mono's glyphs.
    pub fn baseline(self) -> u32 {
        match self {
            Self::Body => 13,
            Self::Heading => 16,
        }
    }
}

/// Rows from the top of Unifont's bitmaps to their baseline.
const BITMAP_BASELINE: u32 = 14;

enum Glyph {
    Smooth(RasterizedChar),
    Bitmap(&'static unifont::Glyph),
    Missing,
}

impl Glyph {
    fn of(character: char, style: Style) -> Self {
        // A name with a line break in it must not look like one without.
        if character.is_control() {
            return Self::Missing;
        }
        if let Some(raster) = get_raster(character, style.weight(), style.raster_height()) {
            return Self::Smooth(raster);
        }
        unifont::get_glyph(character).map_or(Self::Missing, Self::Bitmap)
    }

    fn width(&self, style: Style) -> u32 {
        match self {
            Self::Smooth(raster) => raster.width() as u32,
            Self::Bitmap(glyph) => glyph.get_width() as u32,
            Self::Missing => get_raster_width(style.weight(), style.raster_height()) as u32,
        }
    }
}

/// Whether a character only steers how others are shown.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Whether a character is drawn over the one before it.
fn is_mark(character: char) -> bool {
    character.width() == Some(0)
}

/// Whether some character is drawn as a box.
pub(super) fn has_missing_glyph(text: &str) -> bool {
    text.chars().any(|character| {
        !is_invisible(character) && matches!(Glyph::of(character, Style::Body), Glyph::Missing)
    })
}

/// The characters in the order in which they stand from left to right.
fn visual_order(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let text = unifont::i18n::preprocess_text(text);
    let bidi = BidiInfo::new(&text, None);
    let mut ordered = String::with_capacity(text.len());
    for paragraph in &bidi.paragraphs {
        let (levels, runs) = bidi.visual_runs(paragraph, paragraph.range.clone());
        for run in runs {
            if levels[run.start].is_ltr() {
                ordered.push_str(&text[run]);
                continue;
            }
            // Marks stay behind their letter, because they are drawn there.
            let mut letters: Vec<String> = Vec::new();
            for character in text[run].chars() {
                match letters.last_mut() {
                    Some(letter) if is_mark(character) => letter.push(character),
                    _ => letters.push(mirrored(character).into()),
                }
            }
            ordered.extend(letters.into_iter().rev());
        }
    }
    ordered
}

/// The bracket that opens to the other side.
fn mirrored(character: char) -> char {
    match character {
        '(' => ')',
        ')' => '(',
        '[' => ']',
        ']' => '[',
        '{' => '}',
        '}' => '{',
        '<' => '>',
        '>' => '<',
        other => other,
    }
}

/// The width of a line in pixels.
pub(super) fn width(text: &str, style: Style) -> u32 {
    let advance = |character: char| {
        if is_invisible(character) || is_mark(character) {
            0
        } else {
            Glyph::of(character, style).width(style)
        }
    };
    visual_order(text).chars().map(advance).sum()
}

/// The text, or as much of its beginning as fits with an ellipsis behind it.
pub(super) fn shortened(text: &str, style: Style, most: u32) -> String {
    let mut shown = text.to_owned();
    let mut kept = text.to_owned();
    while width(&shown, style) > most && kept.pop().is_some() {
        shown = format!("{kept}…");
    }
    shown
}

/// The text in lines that are no wider than `most` pixels, broken between words; a word that is too
/// long alone is shortened.
pub(super) fn wrapped(text: &str, style: Style, most: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if width(&longer, style) <= most {
                *line = longer;
                continue;
            }
        }
        lines.push(shortened(word, style, most));
    }
    lines
}

/// Draws a line with its upper left corner at (`x`, `y`), and returns the column behind it. What
/// lies outside the image is left out.
pub(super) fn draw(
    image: &mut RgbImage,
    (x, y): (u32, u32),
    text: &str,
    style: Style,
    colour: [u8; 3],
) -> u32 {
    let (mut next, mut letter) = (x, (x, 0));
    for character in visual_order(text).chars().filter(|&character| !is_invisible(character)) {
        let glyph = Glyph::of(character, style);
        let glyph_width = glyph.width(style);
        let left = if is_mark(character) {
            i64::from(letter.0) + (i64::from(letter.1) - i64::from(glyph_width)).div_euclid(2)
        } else {
            letter = (next, glyph_width);
            next += glyph_width;
            i64::from(letter.0)
        };
        draw_glyph(image, (left, i64::from(y)), &glyph, style, colour);
    }
    next
}

fn draw_glyph(
    image: &mut RgbImage,
    (left, top): (i64, i64),
    glyph: &Glyph,
    style: Style,
    colour: [u8; 3],
) {
    let width = i64::from(glyph.width(style));
    match glyph {
        Glyph::Smooth(raster) => {
            for (row, y) in raster.rows().zip(top..) {
                for (&coverage, x) in row.iter().zip(left..) {
                    blend(image, (x, y), colour, coverage);
                }
            }
        }
        Glyph::Bitmap(bitmap) => {
            let top = top + i64::from(style.baseline()) - i64::from(BITMAP_BASELINE);
            for (row, column) in (0..16).flat_map(|row| (0..width).map(move |column| (row, column)))
            {
                if bitmap.get_pixel(column as usize, row as usize) {
                    blend(image, (left + column, top + row), colour, 255);
                }
            }
        }
        Glyph::Missing => {
            let rows = 3..=i64::from(style.line_height()) - 4;
            for (row, column) in
                rows.clone().flat_map(|row| (1..width - 1).map(move |column| (row, column)))
            {
                if row == *rows.start() || row == *rows.end() || column == 1 || column == width - 2
                {
                    blend(image, (left + column, top + row), colour, 255);
                }
            }
        }
    }
}

/// Lays a colour over a pixel, `coverage` / 255 of it.
fn blend(image: &mut RgbImage, (x, y): (i64, i64), colour: [u8; 3], coverage: u8) {
    if !(0..i64::from(image.width)).contains(&x) || !(0..i64::from(image.height)).contains(&y) {
        return;
    }
    let start = (y as usize * image.width as usize + x as usize) * 3;
    for (level, colour) in image.pixels[start..start + 3].iter_mut().zip(colour) {
        let coverage = u32::from(coverage);
        *level = ((u32::from(*level) * (255 - coverage) + u32::from(colour) * coverage + 127) / 255)
            as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: [u8; 3] = [255; 3];

    /// The columns that have ink in them.
    fn inked_columns(text: &str) -> Vec<u32> {
        let mut image = RgbImage::filled(100, 20, WHITE);
        draw(&mut image, (0, 0), text, Style::Body, [0; 3]);
        let row_length = image.width as usize * 3;
        let is_inked = |column: usize| {
            image.pixels.chunks(row_length).any(|row| row[column * 3..column * 3 + 3] != WHITE)
        };
        (0..image.width).filter(|&column| is_inked(column as usize)).collect()
    }

    #[test]
    fn latin_and_other_scripts_have_glyphs_and_emoji_are_boxes() {
        for text in [
            "hot dog",
            "Würstchen",
            "ŽŁ",
            "собака",
            "σκύλος",
            "狗",
            "いぬ",
            "개",
            "कुत्ता",
            "หมา",
            "כלב",
            "كلب",
            "…",
        ] {
            assert!(!has_missing_glyph(text), "{text}");
            assert!(!inked_columns(text).is_empty(), "{text}");
        }
        assert!(has_missing_glyph("a🌭"));
        assert_eq!(inked_columns("🌭"), [1, 2, 3, 4, 5]);
        // A line break in a folder's name is a character as any other, not a second line.
        assert!(has_missing_glyph("a\nb"));
    }

    #[test]
    fn widths_are_what_is_drawn() {
        for (text, expected) in
            [("", 0), ("abc", 21), ("犬", 16), ("e\u{301}", 7), ("a\u{200d}b", 14), ("🌭", 7)]
        {
            assert_eq!(width(text, Style::Body), expected, "{text}");
            let end = draw(&mut RgbImage::filled(1, 1, WHITE), (5, 0), text, Style::Body, [0; 3]);
            assert_eq!(end, 5 + expected, "{text}");
        }
        assert_eq!(width("abc", Style::Heading), 27);
    }

    #[test]
    fn right_to_left_text_stands_in_visual_order() {
        assert_eq!(visual_order("כלב"), "בלכ");
        assert_eq!(visual_order("dog כלב 12"), "dog 12 בלכ");
        assert_eq!(visual_order("כ(ל)ב"), "ב(ל)כ");
        assert_eq!(visual_order("כ\u{5b0}ל"), "לכ\u{5b0}", "the mark stays behind its letter");
    }

    #[test]
    fn arabic_letters_are_joined() {
        // Initial, medial and final forms, from right to left.
        assert_eq!(visual_order("كلب"), "\u{fe90}\u{fee0}\u{fedb}");
    }

    #[test]
    fn text_is_shortened_and_wrapped_to_fit() {
        assert_eq!(shortened("hotdog", Style::Body, 42), "hotdog");
        let short = shortened("hotdogs", Style::Body, 42);
        assert!(
            short.starts_with("hotd") && short.ends_with('…') && width(&short, Style::Body) <= 42,
            "{short}"
        );
        assert_eq!(
            shortened("hotdog", Style::Body, 0),
            "…",
            "something is left even if nothing fits"
        );
        assert_eq!(wrapped("one two three", Style::Body, 7 * 7), ["one two", "three"]);
        let lines = wrapped("one incomprehensible", Style::Body, 7 * 7);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| width(line, Style::Body) <= 49), "{lines:?}");
    }

    #[test]
    fn ink_outside_the_picture_is_left_out() {
        let mut image = RgbImage::filled(3, 3, WHITE);
        draw(&mut image, (0, u32::MAX), "x", Style::Heading, [0; 3]);
        draw(&mut image, (100, 0), "犬", Style::Heading, [0; 3]);
        assert_eq!(image, RgbImage::filled(3, 3, WHITE));
    }
}
