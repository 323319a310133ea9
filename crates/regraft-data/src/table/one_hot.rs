//! Tables with a column of zeros and ones for each class, such as Roboflow's `_classes.csv`.

use std::collections::BTreeSet;

/// The columns of zeros and ones of a table, row by row.
#[derive(Debug)]
pub struct OneHot {
    /// The columns that have contained only zeros and ones so far.
    columns: Vec<(usize, String)>,
    /// Whether all columns except the used ones are still among them.
    all: bool,
    /// For each row, its line and the columns with a one.
    rows: Vec<(u64, Vec<usize>)>,
}

/// The labels that columns of zeros and ones give to a table without a label column.
#[derive(Debug, PartialEq, Eq)]
pub enum Labels {
    /// There are no such columns.
    None,
    /// A label for each row, and the columns' names.
    Each(Vec<String>, Vec<String>),
    /// A row that does not have exactly one: its line, and the classes that it has.
    Other { line: u64, classes: Vec<String> },
}

impl OneHot {
    /// `columns` are the indices and names of the columns that have no other role.
    pub fn new(columns: Vec<(usize, String)>) -> Self {
        Self { columns, all: true, rows: Vec::new() }
    }

    /// Takes a row into account.
    pub fn see<'a>(&mut self, line: u64, value: impl Fn(usize) -> &'a str) {
        let before = self.columns.len();
        self.columns
            .retain(|(column, _)| matches!(value(*column).trim(), "0" | "1" | "0.0" | "1.0"));
        self.all &= self.columns.len() == before;
        let ones = self.columns.iter().map(|(column, _)| *column);
        self.rows
            .push((line, ones.filter(|&column| value(column).trim().starts_with('1')).collect()));
    }

    /// The columns that look like classes although the table has a label column: those that are
    /// named like labels, or all if each row has exactly one 1. At least two.
    pub fn beside(self, labels: &BTreeSet<&str>) -> Option<Vec<String>> {
        let named: Vec<String> = self.columns.iter().map(|(_, name)| name.clone()).collect();
        let named: Vec<String> =
            named.into_iter().filter(|name| labels.contains(name.as_str())).collect();
        let found = match self.labels() {
            Labels::Each(_, columns) => columns,
            Labels::None | Labels::Other { .. } => named,
        };
        (found.len() > 1).then_some(found)
    }

    /// The labels, if at least two columns contain only zeros and ones.
    pub fn labels(self) -> Labels {
        let Self { columns, all, rows } = self;
        let name = |wanted: usize| {
            columns.iter().find(|(column, _)| *column == wanted).map(|(_, name)| name.clone())
        };
        let classes = rows.iter().map(|(line, ones)| {
            (*line, ones.iter().filter_map(|&one| name(one)).collect::<Vec<_>>())
        });
        let classes: Vec<(u64, Vec<String>)> = classes.collect();
        if columns.len() < 2 || classes.is_empty() {
            return Labels::None;
        }
        match classes.iter().find(|(_, classes)| classes.len() != 1) {
            None => {
                let labels = classes.into_iter().flat_map(|(_, classes)| classes).collect();
                Labels::Each(labels, columns.into_iter().map(|(_, name)| name).collect())
            }
            Some((line, classes)) if all => Labels::Other { line: *line, classes: classes.clone() },
            Some(_) => Labels::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &[[&str; 3]]) -> Labels {
        let mut one_hot =
            OneHot::new(["a", "b", "c"].map(str::to_owned).into_iter().enumerate().collect());
        for (line, row) in (2..).zip(rows) {
            one_hot.see(line, |column| row[column]);
        }
        one_hot.labels()
    }

    #[test]
    fn one_one_in_each_row_is_its_label() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let labels = Labels::Each(texts(&["b", "a"]), texts(&["a", "b", "c"]));
        assert_eq!(read(&[["0", " 1", "0.0"], ["1.0", "0", "0"]]), labels);
        let labels = Labels::Each(texts(&["a", "b"]), texts(&["a", "b"]));
        assert_eq!(read(&[["1", "0", "224"], ["0", "1", "1"]]), labels);
    }

    #[test]
    fn other_numbers_of_ones_are_reported_with_their_line() {
        let classes = vec!["a".to_owned(), "c".to_owned()];
        assert_eq!(read(&[["1", "0", "0"], ["1", "0", "1"]]), Labels::Other { line: 3, classes });
        assert_eq!(read(&[["0", "0", "0"]]), Labels::Other { line: 2, classes: Vec::new() });
        assert_eq!(read(&[["0", "0", "7"]]), Labels::None);
        assert_eq!(read(&[["0", "x", "7"]]), Labels::None);
        assert_eq!(read(&[]), Labels::None);
    }
}
