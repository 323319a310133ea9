//! Documents as text for a terminal.

use super::{Block, Document, Gallery, Table};
use crate::report::table::{aligned, printable};

pub(super) fn render(document: &Document) -> String {
    let blocks: Vec<String> = document.blocks.iter().map(block).collect();
    blocks.join("\n").trim_end().to_owned() + "\n"
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading { text } => format!("{}\n", printable(text)),
        Block::Headline { value, text } => format!("{} {}\n", printable(value), printable(text)),
        Block::Prose { text } => format!("{}\n", printable(text)),
        Block::Matrix(found) => table(&found.table()),
        Block::Data { .. } => String::new(),
        Block::Table(found) => table(found),
        Block::Figure { file, caption, .. } => {
            format!("{} ({})\n", printable(caption), printable(file))
        }
        Block::Gallery(found) => gallery(found),
    }
}

fn table(table: &Table) -> String {
    let rows = table.rows.iter().map(|row| &row.cells);
    let rows: Vec<Vec<String>> = std::iter::once(&table.header)
        .chain(rows)
        .map(|cells| cells.iter().map(|cell| printable(cell)).collect())
        .collect();
    let left: Vec<usize> = (0..table.text_columns).collect();
    aligned(&rows, &left)
}

fn gallery(gallery: &Gallery) -> String {
    let mut text = String::new();
    for finding in &gallery.findings {
        let mut paths: Vec<String> =
            finding.images.iter().map(|image| printable(&image.path)).collect();
        if finding.more > 0 {
            paths.push(format!("and {} more", finding.more));
        }
        text.push_str(&format!("  {}", paths.join("\n    = ")));
        if !finding.remark.is_empty() {
            text.push_str(&format!("  ({})", printable(&finding.remark)));
        }
        text.push('\n');
    }
    if gallery.more > 0 {
        text.push_str(&format!("  and {} more\n", gallery.more));
    }
    text
}
