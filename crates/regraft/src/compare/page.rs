//! `compare.html`: the comparison as a page that needs nothing beside it.

use super::result::Comparison;
use super::table::{cells, header, probability, ranked};
use super::{CompareConfig, changes};
use crate::config::{TrainConfig, shown};
use crate::report::escape::html as escaped;
use crate::report::table::printable;
use std::fmt::Write as _;

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #d5d5d5; --faint: #666; --real: #eaf5ee; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --faint: #aaa; --real: #1d3327; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 \
1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p { max-width: 46rem; } .faint { color: var(--faint); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; \
white-space: nowrap; }
th { border-bottom-width: 2px; font-weight: 600; } th.name, td.name { text-align: left; \
white-space: normal; }
tr.real td { background: var(--real); }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; background: white; \
border-radius: 6px; }
code { font-size: .92em; }";

/// The page, with the picture `svg` in it.
pub(super) fn comparison_page(
    config: &CompareConfig,
    comparison: &Comparison,
    svg: &str,
) -> String {
    let data = escaped(&comparison.data);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n\
         <title>Ways to fine-tune on {data}</title>\n<style>\n{STYLE}\n</style>\n<h1>Ways to \
             fine-tune on {data}</h1>\n"
    );
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        page,
        "<p>{} arms, {} seed{} each, compared on {} {} pictures. All arms have the same pictures, \
         splits, batch order and augmentation draws. \
         Means over the seeds, ± one standard deviation; best arm first.</p>",
        comparison.arms.len(),
        comparison.seeds.len(),
        if comparison.seeds.len() == 1 { "" } else { "s" },
        comparison.scored_images,
        comparison.scored_on.name()
    );
    let rows = ranked(comparison).into_iter().map(|arm| (cells(arm, comparison.scored_on), false));
    page.push_str(&table(&header(comparison), rows, 1));
    let failed = comparison.arms.iter().flat_map(|arm| arm.runs.iter().map(move |run| (arm, run)));
    for (arm, run) in failed {
        if let Some(error) = &run.error {
            let _ = writeln!(
                page,
                "<p><b>{}, seed {}, failed:</b> {}</p>",
                escaped(&arm.name),
                run.seed,
                escaped(error)
            );
        }
    }
    for note in &comparison.notes {
        let _ = writeln!(page, "<p>{}</p>", escaped(note));
    }
    let drawing = svg.find("<svg").map_or(svg, |start| &svg[start..]);
    let _ = writeln!(page, "<h2>Curves</h2>\n{drawing}");
    page.push_str(&differences(comparison));
    page.push_str(&options(config));
    let device = escaped(&comparison.device);
    let _ = writeln!(
        page,
        "<p class=\"faint\">Regraft {}, on {device}</p>\n</html>",
        escaped(&comparison.regraft_version)
    );
    page
}

fn differences(comparison: &Comparison) -> String {
    let mut text = "<h2>Which differences are more than chance?</h2>\n".to_owned();
    if comparison.paired_tests.is_empty() {
        text.push_str(
            "<p>Not known yet: it takes two arms that have finished with every seed.</p>\n",
        );
        return text;
    }
    let _ = writeln!(
        text,
        "<p>A paired permutation test over the {} pictures: exact, in both directions, adjusted \
         for {} comparisons by Holm's method. A difference \
         counts as real (shaded) with an adjusted p below {} where, too, every seed has the same \
             arm ahead.</p>",
        comparison.scored_images,
        comparison.paired_tests.len(),
        super::SIGNIFICANCE
    );
    let header = ["better", "worse", "difference", "p", "p adjusted", "every seed", "real"]
        .map(str::to_owned);
    let mut tests: Vec<_> = comparison.paired_tests.iter().collect();
    tests.sort_by(|a, b| a.p_value.total_cmp(&b.p_value));
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let rows = tests.into_iter().map(|test| {
        let cells = vec![
            printable(&test.better),
            printable(&test.worse),
            format!("{:.4}", test.difference),
            probability(test.p_value),
            probability(test.p_value_adjusted),
            word(test.same_sign_in_every_seed),
            word(test.real),
        ];
        (cells, test.real)
    });
    text + &table(&header, rows, 2)
}

/// Each arm's recipe and the options that it changes.
fn options(comparison: &CompareConfig) -> String {
    let header = ["arm", "recipe", "options that are not the recipe's"].map(str::to_owned);
    let mut rows = Vec::new();
    for arm in &comparison.arms {
        let recipe = TrainConfig::recipe(arm.config.recipe, &arm.config.data);
        let own: Vec<String> = changes(&recipe, &arm.config)
            .iter()
            .map(|difference| format!("{} = {}", difference.name, shown(difference.after.as_ref())))
            .collect();
        let own = if own.is_empty() { "–".to_owned() } else { own.join(", ") };
        rows.push((vec![printable(&arm.name), arm.config.recipe.name().to_owned(), own], false));
    }
    format!("<h2>The arms</h2>\n{}", table(&header, rows.into_iter(), 3))
}

/// A table whose first `names` columns are text.
fn table(
    header: &[String],
    rows: impl Iterator<Item = (Vec<String>, bool)>,
    names: usize,
) -> String {
    let line = |cells: &[String], tag: &str, class: &str| {
        let cells = cells.iter().enumerate().map(|(place, cell)| {
            let name = if place < names { " class=\"name\"" } else { "" };
            format!("<{tag}{name}>{}</{tag}>", escaped(cell))
        });
        format!("<tr{class}>{}</tr>\n", cells.collect::<String>())
    };
    let body: String = rows
        .map(|(cells, real)| line(&cells, "td", if real { " class=\"real\"" } else { "" }))
        .collect();
    format!("<div class=\"wide\"><table>\n{}{body}</table></div>\n", line(header, "th", ""))
}
