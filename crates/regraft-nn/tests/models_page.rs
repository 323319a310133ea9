//! The table in docs/models.md is that of the architectures. `REGRAFT_BLESS=1 cargo test -p
//! regraft-nn --test models_page` writes it.

use regraft_nn::architectures::{self, Architecture};
use regraft_nn::parameters::parameters;
use std::path::Path;

const HEADER: &str = "\
| name | parameters | multiply-adds | image | ImageNet top-1 | weights |
|---|---|---|---|---|---|
";

fn row(architecture: &Architecture) -> String {
    let graph = architecture.graph();
    let learned = parameters(&graph).into_iter().filter(|tensor| tensor.role.is_learned());
    let millions = learned.map(|tensor| tensor.length()).sum::<usize>() as f64 / 1e6;
    let adds = graph.multiply_adds(architecture.image_size as usize).expect("large enough");
    format!(
        "| `{}` | {millions:.1} M | {:.2} G | {} | {:.1} % | {} |\n",
        architecture.name,
        adds as f64 / 1e9,
        architecture.image_size,
        architecture.source_accuracy.parse::<f64>().expect("a number"),
        architecture.weights.strip_prefix("--weights ").unwrap_or(architecture.weights),
    )
}

#[test]
fn the_table_of_models_is_that_of_the_architectures() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/models.md");
    let page = std::fs::read_to_string(&path).expect("docs/models.md");
    let (before, rest) = page.split_once(HEADER).expect("the table's header");
    let after = rest.split_once("\n\n").expect("text after the table").1;
    let rows: String = architectures::all().map(row).collect();
    let expected = format!("{before}{HEADER}{rows}\n{after}");
    if std::env::var_os("REGRAFT_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("written");
        return;
    }
    assert!(page == expected, "docs/models.md is out of date; write it with REGRAFT_BLESS=1");
}
