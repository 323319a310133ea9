//! Text from outside, put where some characters have a meaning.

/// For HTML, also inside a quoted attribute.
pub(crate) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// As a quoted field of a CSV file (RFC 4180).
pub(crate) fn csv_quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
