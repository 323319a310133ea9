//! docs/options.md is what the table of options says. `REGRAFT_BLESS=1 cargo test -p regraft --test
//! options` writes it.
#![allow(missing_docs)]

use regraft::config::{Heading, OPTIONS, OptionSpec};
use std::fmt::Write as _;
use std::path::Path;

const BEGINNING: &str = "\
# Options of a run

Every option has a key in `config.toml`, which `regraft compare` and the library use as well, and \
most have a flag of `regraft train`.
`regraft train --print-config` prints the values that a command resolves to.
This page is made from the table of options in `crates/regraft/src/config/table.rs`.
";

fn row(option: &OptionSpec) -> String {
    let flag = option.flag().map_or(String::new(), |flag| format!("`--{flag}`"));
    let default = option.default_text().unwrap_or_else(|| {
        let is_on = option.flag().is_some_and(|flag| flag.starts_with("no-"));
        if is_on { "true" } else { "false" }.to_owned()
    });
    let words = match option.words {
        [] => String::new(),
        words => format!(" One of {}.", words.join(", ")),
    };
    let text = format!("{}.{words}", option.description());
    format!("| `{}` | {flag} | {} | {} |", option.name, default.replace('|', "\\|"), text)
}

fn page() -> String {
    let mut page = BEGINNING.to_owned();
    for heading in Heading::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n| key | flag | default | |\n|---|---|---|---|\n",
            heading.title()
        );
        for option in OPTIONS.iter().filter(|option| option.heading() == heading) {
            let _ = writeln!(page, "{}", row(option));
        }
    }
    page
}

#[test]
fn the_page_of_options_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    if std::env::var_os("REGRAFT_BLESS").is_some() {
        std::fs::write(&path, page()).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/options.md");
    assert!(written == page(), "docs/options.md is out of date; write it with REGRAFT_BLESS=1");
}
