//! Documents as HTML.

use super::{Block, Document, Finding, Gallery, Matrix, Table, Thumbnail};
use crate::report::escape::html as escaped;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

pub(super) fn render(document: &Document) -> String {
    let title = escaped(&document.title);
    let blocks: String = document.blocks.iter().map(block).collect();
    let viewport = "width=device-width, initial-scale=1";
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"{viewport}\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <h1>{title}</h1>\n{blocks}</html>\n"
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading { text } => format!("<h2>{}</h2>\n", escaped(text)),
        Block::Headline { value, text } => format!(
            "<p class=\"headline\"><strong>{}</strong> {}</p>\n",
            escaped(value),
            escaped(text)
        ),
        Block::Prose { text } => format!("<p>{}</p>\n", escaped(text)),
        Block::Matrix(found) => matrix(found),
        Block::Data { value } => data(value),
        Block::Table(found) => table(found),
        Block::Figure { svg, caption, .. } => {
            // Without the declaration of XML, which has no place inside a page.
            let drawing = svg.find("<svg").map_or(svg.as_str(), |start| &svg[start..]);
            let caption = escaped(caption);
            format!("<figure>\n{drawing}\n<figcaption>{caption}</figcaption></figure>\n")
        }
        Block::Gallery(found) => gallery(found),
    }
}

fn table(table: &Table) -> String {
    let line = |cells: &[String], tag: &str, class: &str| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let class = if column < table.text_columns { " class=\"text\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escaped(cell))
        });
        format!("<tr{class}>{}</tr>\n", cells.collect::<String>())
    };
    let header = line(&table.header, "th", "");
    let rows = table
        .rows
        .iter()
        .map(|row| line(&row.cells, "td", if row.marked { " class=\"marked\"" } else { "" }));
    format!("<div class=\"wide\"><table>\n{header}{}</table></div>\n", rows.collect::<String>())
}

/// A table whose cells are as dark as their share of the row; the diagonal, which is right, and the
/// mistakes have different colours.
fn matrix(matrix: &Matrix) -> String {
    let numbers = (1..=matrix.names.len()).map(|number| format!("<th>{number}</th>"));
    let header = numbers.collect::<String>();
    let rows =
        matrix.names.iter().zip(&matrix.counts).enumerate().map(|(place, (name, counts))| {
            let sum: u64 = counts.iter().sum();
            let cells = counts.iter().enumerate().map(|(column, &count)| {
                if count == 0 {
                    return "<td>·</td>".to_owned();
                }
                let share = (100 * count).div_ceil(sum.max(1));
                let class = if column == place { "right" } else { "wrong" };
                format!("<td class=\"{class}\" style=\"--share:{share}%\">{count}</td>")
            });
            let cells = cells.collect::<String>();
            format!(
                "<tr><th class=\"text\">{}</th><th>{}</th>{cells}</tr>\n",
                escaped(name),
                place + 1
            )
        });
    format!(
        "<div class=\"wide\"><table class=\"matrix\">\n<tr><th></th><th></th>{header}</tr>\n{}\
         </table></div>\n",
        rows.collect::<String>()
    )
}

/// JSON in an element that no browser runs. No text in it can end the element.
fn data(value: &serde_json::Value) -> String {
    let json = value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028");
    format!("<script type=\"application/json\" id=\"data\">{json}</script>\n")
}

fn gallery(gallery: &Gallery) -> String {
    let findings: String = gallery.findings.iter().map(finding).collect();
    let more = if gallery.more > 0 {
        format!("<p>and {} more</p>\n", gallery.more)
    } else {
        String::new()
    };
    format!("<div class=\"gallery\">\n{findings}</div>\n{more}")
}

fn finding(finding: &Finding) -> String {
    let mut text = "<div class=\"finding\">".to_owned();
    if !finding.remark.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, "<div>{}</div>", escaped(&finding.remark));
    }
    text.push_str("<div class=\"images\">");
    for Thumbnail { path, jpeg } in &finding.images {
        let image = match jpeg {
            Some(data) => format!("<img alt=\"\" src=\"data:image/jpeg;base64,{data}\">"),
            None => "<div class=\"none\">no image</div>".to_owned(),
        };
        let _ = write!(text, "<figure>{image}<figcaption>{}</figcaption></figure>", escaped(path));
    }
    if finding.more > 0 {
        let _ = write!(text, "<div class=\"none\">and {} more</div>", finding.more);
    }
    text + "</div></div>\n"
}
