//! An audit as a page to look at: one file, with small copies of the pictures inside.

use super::Audit;
use super::table::sections;
use crate::config::cores_or;
use crate::report::escape::html as escaped;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use regraft_base::resample::{Filter, Rectangle, resize_rgb};
use regraft_data::decode::{DecodeOptions, decode};
use regraft_data::parallel;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

/// Findings of a kind that are shown.
const SHOWN: usize = 200;
/// Pictures of one finding that are shown.
const SHOWN_OF_ONE: usize = 12;
/// Longest side of a small copy in pixels.
const SIDE: u32 = 180;
const QUALITY: u8 = 80;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fafaf8;--card:#fff;--line:#e3e3de;--text:#222;--weak:#6b6b66}\
@media(prefers-color-scheme:dark){:root{--back:#181816;--card:#222220;--line:#383835;--text:#eee;\
    --weak:#a3a39c}}\
body{font:15px/1.5 system-ui,sans-serif;background:var(--back);color:var(--text);margin:0 \
auto;max-width:1200px;padding:2rem}\
h1{font-size:1.6rem;margin:0}h2{margin:2.5rem 0 \
0;font-size:1.2rem}p{color:var(--weak);margin:.2rem 0 1rem}\
nav{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}nav a{background:var(--card);border:1px \
solid var(--line);border-radius:.5rem;\
padding:.35rem .8rem;text-decoration:none;color:inherit}nav b{margin-left:.4rem}\
table{border-collapse:collapse}td,th{padding:.2rem 1.2rem .2rem \
0;text-align:right}td:first-child,th:first-child{text-align:left}\
th{color:var(--weak);font-weight:normal;border-bottom:1px solid var(--line)}\
.all{display:flex;flex-wrap:wrap;gap:1rem}.one{background:var(--card);border:1px solid \
var(--line);border-radius:.6rem;padding:.8rem;\
max-width:100%}.row{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;width:180px}\
    img{max-width:180px;max-height:180px;border-radius:.3rem;\
display:block}figcaption,.none{font-size:.75rem;color:var(--weak);overflow-wrap:anywhere}\
    .none{width:180px;height:100px;display:flex;align-items:center;\
justify-content:center;background:var(--line);border-radius:.3rem}.remark{margin-bottom:.5rem;\
    font-size:.85rem}";

/// The page. `options` is how the pictures were read.
#[must_use]
pub fn page(audit: &Audit, data: &Path, options: &DecodeOptions) -> String {
    let sections: Vec<_> = sections(audit).collect();
    let shown = sections.iter().flat_map(|section| section.findings.iter().take(SHOWN));
    let mut wanted: Vec<&str> = shown
        .flat_map(|finding| finding.paths.iter().take(SHOWN_OF_ONE).map(String::as_str))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let copy = |place: usize| (wanted[place], small_copy(Path::new(wanted[place]), options));
    let small: HashMap<&str, Option<String>> =
        parallel::map(wanted.len(), cores_or(0), &copy, &|_| {}).into_iter().collect();

    let title = format!("Audit of {}", escaped(&data.display().to_string()));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{} files</p>\n<nav>",
        audit.images
    );
    for section in &sections {
        let _ = write!(
            page,
            "<a href=\"#{}\">{}<b>{}</b></a>",
            anchor(section.title),
            section.title,
            section.findings.len()
        );
    }
    if sections.is_empty() {
        page.push_str("Nothing was found.");
    }
    page.push_str("</nav>\n<table><tr><th>class<th>train<th>val<th>test</tr>");
    for count in &audit.counts {
        let class = escaped(&count.class);
        let _ = write!(
            page,
            "<tr><td>{class}<td>{}<td>{}<td>{}</tr>",
            count.train, count.val, count.test
        );
    }
    page.push_str("</table>\n");
    for section in &sections {
        let (title, count) = (section.title, section.findings.len());
        let cut = if count > SHOWN {
            format!(" The first {SHOWN} of {count} are shown.")
        } else {
            String::new()
        };
        let _ = write!(
            page,
            "<h2 id=\"{}\">{title} ({count})</h2><p>{}{cut}</p><div class=\"all\">",
            anchor(title),
            section.meaning
        );
        for finding in section.findings.iter().take(SHOWN) {
            let _ = write!(
                page,
                "<div class=\"one\"><div class=\"remark\">{}</div><div class=\"row\">",
                escaped(&finding.remark)
            );
            for path in finding.paths.iter().take(SHOWN_OF_ONE) {
                let picture = match small.get(path.as_str()).and_then(Option::as_ref) {
                    Some(data) => format!("<img alt=\"\" src=\"data:image/jpeg;base64,{data}\">"),
                    None => "<div class=\"none\">no picture</div>".to_owned(),
                };
                let _ = write!(
                    page,
                    "<figure>{picture}<figcaption>{}</figcaption></figure>",
                    escaped(path)
                );
            }
            let more = finding.paths.len().saturating_sub(SHOWN_OF_ONE);
            let more = if more > 0 {
                format!("<figure class=\"none\">and {more} more</figure>")
            } else {
                String::new()
            };
            let _ = writeln!(page, "{more}</div></div>");
        }
        page.push_str("</div>\n");
    }
    page.push_str("</html>\n");
    page
}

/// A small JPEG in base 64; `None` where the file cannot be read.
fn small_copy(path: &Path, options: &DecodeOptions) -> Option<String> {
    let picture = decode(path, &DecodeOptions { least_side: Some(SIDE), ..*options }).ok()?;
    let scale = (f64::from(SIDE) / f64::from(picture.width.max(picture.height))).min(1.0);
    let [width, height] = [picture.width, picture.height]
        .map(|side| ((f64::from(side) * scale).round() as usize).max(1));
    let whole = Rectangle::whole(picture.width as usize, picture.height as usize);
    let mut pixels = vec![0; width * height * 3];
    let window = Rectangle::whole(width, height);
    let size = (picture.width as usize, picture.height as usize);
    resize_rgb(
        &picture.pixels,
        size,
        whole,
        (width, height),
        window,
        Filter::Bilinear,
        &mut pixels,
    );
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    image::ImageEncoder::write_image(
        encoder,
        &pixels,
        width as u32,
        height as u32,
        image::ExtendedColorType::Rgb8,
    )
    .ok()?;
    Some(STANDARD.encode(file))
}

/// A title as an element's name, which has no spaces.
fn anchor(title: &str) -> String {
    title.replace(' ', "-")
}
