//! Splits the text of a CSV or TSV file into records and fields, strictly (RFC 4180).
//!
//! The `csv` crate accepts any text: a quote that is never closed takes the rest of the file into
//! its field. Here that is an error with the line of the quote. Each field also records whether it
//! was quoted, because blanks at the ends count only then.

use std::borrow::Cow;

/// A field, with its quotes removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The text between the quotes, or all of an unquoted field with its blanks.
    pub text: Cow<'a, str>,
    /// Whether it was in quotes.
    pub quoted: bool,
}

/// A record of at least one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The line it begins in, from 1.
    pub line: u64,
    /// Its fields.
    pub fields: Vec<Field<'a>>,
}

impl Record<'_> {
    /// Whether it has no content, like an empty line or `,,,`.
    pub fn is_blank(&self) -> bool {
        self.fields.iter().all(|field| field.text.trim().is_empty())
    }
}

/// A quoted field that does not end properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuoteError {
    /// The line of the quote that opens the field.
    pub line: u64,
    /// The line of the quote that closes it, if there is one.
    pub closed: Option<u64>,
}

/// The records of a text. Lines end with `\n`, `\r\n` or `\r`.
///
/// A field is quoted if it begins with a quote, possibly after blanks: it ends at the next quote
/// that is not doubled, two quotes mean one, and only blanks may follow it. Other quotes are text.
/// In TSV files quotes are usually text too, so there a field counts as quoted only if it ends
/// properly within its line.
pub struct Records<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    delimiter: u8,
}

impl<'a> Records<'a> {
    /// `delimiter` is an ASCII character.
    pub fn new(text: &'a str, delimiter: u8) -> Self {
        Self { text, at: 0, line: 1, delimiter }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn after_blanks(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t') = self.byte(at).filter(|&byte| byte != self.delimiter) {
            at += 1;
        }
        at
    }

    fn ends_field(&self, at: usize) -> bool {
        self.byte(at).is_none_or(|byte| byte == self.delimiter || matches!(byte, b'\n' | b'\r'))
    }

    fn field(&mut self) -> Result<Field<'a>, QuoteError> {
        let start = self.after_blanks(self.at);
        if self.byte(start) == Some(b'"') {
            match self.quoted(start + 1) {
                Ok((text, end, line)) if self.delimiter != b'\t' || line == self.line => {
                    (self.at, self.line) = (end, line);
                    return Ok(Field { text, quoted: true });
                }
                Err(error) if self.delimiter != b'\t' => return Err(error),
                _ => {}
            }
        }
        let start = self.at;
        while !self.ends_field(self.at) {
            self.at += 1;
        }
        Ok(Field { text: Cow::Borrowed(&self.text[start..self.at]), quoted: false })
    }

    /// The quoted text from `start` on, the position where its field ends, and the line of that
    /// position.
    fn quoted(&self, start: usize) -> Result<(Cow<'a, str>, usize, u64), QuoteError> {
        let (mut text, mut from, mut at, mut line) = (Cow::Borrowed(""), start, start, self.line);
        let one_line = self.delimiter == b'\t';
        loop {
            match self.byte(at) {
                None => return Err(QuoteError { line: self.line, closed: None }),
                Some(b'"') if self.byte(at + 1) == Some(b'"') => {
                    text += &self.text[from..=at];
                    (from, at) = (at + 2, at + 2);
                }
                Some(b'"') => break,
                Some(b'\n' | b'\r') if one_line => {
                    return Err(QuoteError { line: self.line, closed: None });
                }
                Some(byte) => {
                    let ends = byte == b'\n' || byte == b'\r' && self.byte(at + 1) != Some(b'\n');
                    line += u64::from(ends);
                    at += 1;
                }
            }
        }
        text += &self.text[from..at];
        let end = self.after_blanks(at + 1);
        if self.ends_field(end) {
            Ok((text, end, line))
        } else {
            Err(QuoteError { line: self.line, closed: Some(line) })
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, QuoteError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.byte(self.at)?;
        let mut record = Record { line: self.line, fields: Vec::new() };
        loop {
            match self.field() {
                Ok(field) => record.fields.push(field),
                Err(error) => {
                    self.at = self.text.len();
                    return Some(Err(error));
                }
            }
            match self.byte(self.at) {
                Some(b'\r') if self.byte(self.at + 1) == Some(b'\n') => self.at += 2,
                Some(b'\n' | b'\r') => self.at += 1,
                None => return Some(Ok(record)),
                Some(_) => {
                    self.at += 1;
                    continue;
                }
            }
            self.line += 1;
            return Some(Ok(record));
        }
    }
}

/// The lines of a text with their numbers from 1. They end with `\n`, `\r\n` or `\r`.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = Some(bytes);
    let next = move || {
        let bytes = rest?;
        let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some(bytes);
        };
        let skipped = if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&bytes[end + skipped..]);
        Some(&bytes[..end])
    };
    (1..).zip(std::iter::from_fn(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, delimiter: u8) -> Vec<(u64, Vec<String>)> {
        let records = Records::new(text, delimiter).map(Result::unwrap);
        let texts = |record: Record<'_>| {
            record.fields.into_iter().map(|field| field.text.into_owned()).collect()
        };
        records.map(|record| (record.line, texts(record))).collect()
    }

    fn fails(text: &str) -> QuoteError {
        Records::new(text, b',').find_map(Result::err).expect("an error")
    }

    #[test]
    fn fields_are_read_as_rfc_4180_says() {
        let record = |line, fields: &[&str]| {
            (line, fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>())
        };
        let text = "a,b\r\n\"x, y\", \"q \"\"z\"\"\" \r 5\" pipe ,\n\n\"two\r\nlines\",e";
        let expected = [
            record(1, &["a", "b"]),
            record(2, &["x, y", "q \"z\""]),
            record(3, &[" 5\" pipe ", ""]),
            record(4, &[""]),
            record(5, &["two\r\nlines", "e"]),
        ];
        assert_eq!(read(text, b','), expected);
        assert_eq!(read("", b','), []);
        assert_eq!(read("a,", b','), [record(1, &["a", ""])]);
        assert_eq!(read("a;\"b;c\"", b';'), [record(1, &["a", "b;c"])]);
    }

    #[test]
    fn a_quote_that_does_not_close_its_field_is_an_error_with_its_line() {
        assert_eq!(fails("a,b\n\"c,d\ne,f\n"), QuoteError { line: 2, closed: None });
        assert_eq!(fails("a,b\nc,\"d\ne,\"f\"\n"), QuoteError { line: 2, closed: Some(3) });
        assert_eq!(fails("a\n\"b\" c.jpg"), QuoteError { line: 2, closed: Some(2) });
        assert_eq!(fails("a\n\"b \\\"c\\\" d\""), QuoteError { line: 2, closed: Some(2) });
    }

    #[test]
    fn quotes_in_tsv_count_only_around_a_whole_field_of_one_line() {
        let text = "\"a \"\"b\"\"\"\t\"open\t\"c\" d\n\"e\tf\"\t\"\n";
        let fields: Vec<_> = read(text, b'\t').into_iter().map(|(_, fields)| fields).collect();
        assert_eq!(fields[0], ["a \"b\"", "\"open", "\"c\" d"]);
        assert_eq!(fields[1], ["e\tf", "\""]);
    }

    #[test]
    fn lines_end_in_three_ways() {
        let found: Vec<_> = lines(b"a\nb\r\nc\rd\r\r\n")
            .map(|(line, text)| (line, std::str::from_utf8(text).unwrap()))
            .collect();
        assert_eq!(found, [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, ""), (6, "")]);
    }
}
