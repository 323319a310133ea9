//! Documents as Markdown.

use super::{Block, Document, Gallery, Table};

pub(super) fn render(document: &Document) -> String {
    let title = format!("# {}\n", escaped(&document.title));
    let blocks: Vec<String> =
        std::iter::once(title).chain(document.blocks.iter().map(block)).collect();
    blocks.join("\n")
}

/// Text without characters that Markdown or HTML would take for markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\`*_[]<>|".contains(character) {
            escaped.push('\\');
        }
        escaped.push(if character.is_control() { ' ' } else { character });
    }
    escaped
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading { text } => format!("## {}\n", escaped(text)),
        Block::Headline { value, text } => format!("**{}** {}\n", escaped(value), escaped(text)),
        Block::Prose { text } => format!("{}\n", escaped(text)),
        Block::Matrix(found) => table(&found.table()),
        Block::Data { .. } => String::new(),
        Block::Table(found) => table(found),
        Block::Figure { file, caption, .. } => {
            format!("![{}](<{}>)\n", escaped(caption), file.replace(['<', '>'], ""))
        }
        Block::Gallery(found) => gallery(found),
    }
}

fn table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let text = |cells: &[String]| line(cells.iter().map(|cell| escaped(cell)).collect());
    let alignment = (0..table.header.len())
        .map(|column| if column < table.text_columns { "---" } else { "---:" }.to_owned());
    let mut lines = text(&table.header) + &line(alignment.collect());
    for row in &table.rows {
        let cells = row.cells.iter().map(|cell| match row.marked && !cell.is_empty() {
            true => format!("**{}**", escaped(cell)),
            false => escaped(cell),
        });
        lines.push_str(&line(cells.collect()));
    }
    lines
}

fn gallery(gallery: &Gallery) -> String {
    let mut text = String::new();
    for finding in &gallery.findings {
        let paths: Vec<String> = finding.images.iter().map(|image| escaped(&image.path)).collect();
        let more =
            if finding.more > 0 { format!(" and {} more", finding.more) } else { String::new() };
        let remark = if finding.remark.is_empty() {
            String::new()
        } else {
            format!(": {}", escaped(&finding.remark))
        };
        text.push_str(&format!("- {}{more}{remark}\n", paths.join(", ")));
    }
    if gallery.more > 0 {
        text.push_str(&format!("- and {} more\n", gallery.more));
    }
    text
}
