//! A document of headings, prose, tables and figures, made once and rendered to the terminal, HTML,
//! Markdown or JSON.

mod html;
mod markdown;
mod terminal;
#[cfg(test)]
mod tests;

use serde::Serialize;

/// A document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// Its title.
    pub title: String,
    /// Its content, from top to bottom.
    pub blocks: Vec<Block>,
}

/// A piece of a document. All text is plain; each rendering escapes its special characters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// The title of a section.
    Heading {
        /// The title.
        text: String,
    },
    /// The most important number, set large.
    Headline {
        /// The number.
        value: String,
        /// Its meaning.
        text: String,
    },
    /// A paragraph.
    Prose {
        /// The text, without line breaks.
        text: String,
    },
    /// A table.
    Table(Table),
    /// Counts of classes by classes, shaded by each row's shares.
    Matrix(Matrix),
    /// A drawing. The terminal shows its caption only.
    Figure {
        /// The drawing as SVG.
        svg: String,
        /// The file that holds it too, for renderings that cannot contain it.
        file: String,
        /// Its caption.
        caption: String,
    },
    /// Findings that are shown by images.
    Gallery(Gallery),
    /// The document's numbers for programs. Only HTML has a place for them.
    Data {
        /// The numbers.
        value: serde_json::Value,
    },
}

/// Counts of classes by classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Matrix {
    /// Names of the rows, which are numbered from 1; the columns have the same numbers.
    pub names: Vec<String>,
    /// The counts, row by row.
    pub counts: Vec<Vec<u64>>,
}

impl Matrix {
    /// The same as a table, with a dot for 0.
    fn table(&self) -> Table {
        let numbers = (1..=self.names.len()).map(|number| number.to_string());
        let mut table = Table::new([String::new(), String::new()].into_iter().chain(numbers), 1);
        for (number, (name, counts)) in (1..).zip(self.names.iter().zip(&self.counts)) {
            let mut cells = vec![name.clone(), number.to_string()];
            let shown = |&count: &u64| if count == 0 { "·".to_owned() } else { count.to_string() };
            cells.extend(counts.iter().map(shown));
            table.push(cells);
        }
        table
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows from top to bottom.
    pub rows: Vec<Row>,
    /// How many of the first columns hold text. The others hold numbers and are aligned to the
    /// right.
    pub text_columns: usize,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its cells.
    pub cells: Vec<String>,
    /// Whether the row stands out.
    pub marked: bool,
}

impl Table {
    /// A table with no rows yet, of which the first `text_columns` hold text.
    #[must_use]
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>, text_columns: usize) -> Self {
        let header = header.into_iter().map(Into::into).collect();
        Self { header, rows: Vec::new(), text_columns }
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(Row { cells, marked: false });
    }

    /// Adds a row that stands out if `marked`.
    pub fn push_marked(&mut self, cells: Vec<String>, marked: bool) {
        self.rows.push(Row { cells, marked });
    }
}

/// Findings that are shown by images.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gallery {
    /// The findings that are listed.
    pub findings: Vec<Finding>,
    /// How many others there are.
    pub more: usize,
}

/// A finding in some images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// A remark on it; may be empty.
    pub remark: String,
    /// Its images.
    pub images: Vec<Thumbnail>,
    /// How many others there are.
    pub more: usize,
}

/// An image of a finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Thumbnail {
    /// Its file.
    pub path: String,
    /// A small copy as a JPEG in base 64, if the document has images.
    pub jpeg: Option<String>,
}

impl Document {
    /// A document with a title and nothing else.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    /// Adds the title of a section.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading { text: text.into() });
    }

    /// Adds a paragraph.
    pub fn prose(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Prose { text: text.into() });
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Adds numbers for programs, as serde writes them: an f32 with the digits that it has.
    pub fn data(&mut self, value: &impl Serialize) {
        let value = serde_json::to_string(value)
            .and_then(|text| serde_json::from_str(&text))
            .unwrap_or_else(|error| unreachable!("plain data has a form in JSON: {error}"));
        self.blocks.push(Block::Data { value });
    }

    /// Plain text for a terminal, without the title. Control characters are replaced, because they
    /// could steer the terminal.
    #[must_use]
    pub fn terminal(&self) -> String {
        terminal::render(self)
    }

    /// A page that needs no other file.
    #[must_use]
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// Markdown (CommonMark with tables), one paragraph a line.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// The document as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self)
            .unwrap_or_else(|error| unreachable!("plain data has a form in JSON: {error}"))
    }
}
