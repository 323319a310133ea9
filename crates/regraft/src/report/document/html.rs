//! Documents as HTML.

use super::{Block, Document, Finding, Gallery, Table, Thumbnail};
use crate::report::escape::html as escaped;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

pub(super) fn render(document: &Document) -> String {
    let title = escaped(&document.title);
    let blocks: String = document.blocks.iter().map(block).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <h1>{title}</h1>\n{blocks}</html>\n"
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading { text } => format!("<h2>{}</h2>\n", escaped(text)),
        Block::Prose { text } => format!("<p>{}</p>\n", escaped(text)),
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
