//! An evaluation as text for the terminal.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::metrics::Evaluation;

/// Above this many classes the confusion matrix would not fit a terminal, and the most confused
/// pairs are listed instead.
const MOST_CLASSES_IN_MATRIX: usize = 20;
/// Pairs listed in place of the matrix.
const MOST_CONFUSED_PAIRS: usize = 10;
/// Terminal columns for a class name; a longer one ends in an ellipsis.
const NAME_WIDTH: usize = 28;
/// The text for a metric that is not defined.
const UNDEFINED: &str = "–";

/// The evaluation as lines of text: the metrics of the whole, those of each class, and what was
/// taken for what. For more than 20 classes, only those that have images or were predicted are
/// listed, and the ten most confused pairs instead of the matrix. Columns are aligned by display
/// width, in any script; control characters in class names are replaced, so that a name cannot
/// steer the terminal.
pub fn evaluation_table(evaluation: &Evaluation) -> String {
    let mut text = overall(evaluation);
    text.push('\n');
    text.push_str(&per_class(evaluation));
    text.push('\n');
    if evaluation.classes.len() > MOST_CLASSES_IN_MATRIX {
        text.push_str(&most_confused(evaluation));
    } else {
        text.push_str(&confusion_matrix(evaluation));
    }
    text
}

fn overall(evaluation: &Evaluation) -> String {
    let [low, high] = evaluation.accuracy_interval_95;
    let accuracy = format!(
        "{:.4}  ({} of {} images; 95 % interval {low:.4} to {high:.4})",
        evaluation.accuracy, evaluation.correct, evaluation.images
    );
    let mut lines = vec![("accuracy", accuracy)];
    if let Some(top5) = evaluation.top5_accuracy {
        lines.push(("top-5 accuracy", format!("{top5:.4}")));
    }
    lines.push(("balanced accuracy", format!("{:.4}", evaluation.balanced_accuracy)));
    lines.push(("loss", decimal(evaluation.loss)));
    if evaluation.images_without_prediction > 0 {
        let count = evaluation.images_without_prediction;
        lines.push((
            "no prediction",
            format!("{count}  (the network gave no finite numbers: counted as wrong)"),
        ));
    }
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<17}  {value}");
        text
    })
}

fn per_class(evaluation: &Evaluation) -> String {
    let header = ["class", "images", "precision", "recall", "F1"].map(str::to_owned).to_vec();
    let is_many = evaluation.classes.len() > MOST_CLASSES_IN_MATRIX;
    // Of many classes, those that no image has to do with would bury the others. An F1 is missing
    // only in that case.
    let listed = evaluation.per_class.iter().filter(|report| !is_many || report.f1.is_some());
    let rows = listed.map(|report| {
        vec![
            shown_name(&report.class),
            report.images.to_string(),
            decimal(report.precision),
            decimal(report.recall),
            decimal(report.f1),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut text = aligned(&rows, &[0]);
    let left_out = evaluation.classes.len() + 1 - rows.len();
    if left_out > 0 {
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "and {left_out} classes without images, none of which was predicted");
    }
    text
}

/// The matrix with numbers for column headings, which stay narrow whatever the classes are called.
fn confusion_matrix(evaluation: &Evaluation) -> String {
    let classes = evaluation.classes.len();
    let header = [String::new(), String::new()]
        .into_iter()
        .chain((1..=classes).map(|number| number.to_string()));
    let mut rows: Vec<Vec<String>> = vec![header.collect()];
    for (class, counts) in evaluation.confusion.iter().enumerate() {
        let mut row = vec![shown_name(&evaluation.classes[class]), (class + 1).to_string()];
        // A dot for zero lets the mistakes stand out.
        row.extend(
            counts.iter().map(|&count| if count == 0 { "·".to_owned() } else { count.to_string() }),
        );
        rows.push(row);
    }
    format!("confusion (rows: true class; columns: predicted class)\n{}", aligned(&rows, &[0]))
}

fn most_confused(evaluation: &Evaluation) -> String {
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (true_class, counts) in evaluation.confusion.iter().enumerate() {
        for (predicted_class, &count) in counts.iter().enumerate() {
            if count > 0 && predicted_class != true_class {
                pairs.push((count, true_class, predicted_class));
            }
        }
    }
    if pairs.is_empty() {
        return "no class was taken for another\n".to_owned();
    }
    // A stable sort: pairs of equal count stay in class order.
    pairs.sort_by_key(|&(count, _, _)| std::cmp::Reverse(count));
    pairs.truncate(MOST_CONFUSED_PAIRS);
    let header = ["true class", "taken for", "images", "of"].map(str::to_owned).to_vec();
    let rows = pairs.iter().map(|&(count, true_class, predicted_class)| {
        vec![
            shown_name(&evaluation.classes[true_class]),
            shown_name(&evaluation.classes[predicted_class]),
            count.to_string(),
            evaluation.per_class[true_class].images.to_string(),
        ]
    });
    format!(
        "most confused\n{}",
        aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), &[0, 1])
    )
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| UNDEFINED.to_owned(), |value| format!("{value:.4}"))
}

/// Lines of cells two spaces apart, the columns of `left_aligned` to the left, the others to the
/// right.
#[must_use]
pub fn aligned(rows: &[Vec<String>], left_aligned: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.width());
            let (before, after) =
                if left_aligned.contains(&column) { ("", &*padding) } else { (&*padding, "") };
            let gap = if column == 0 { "" } else { "  " };
            line.extend([gap, before, cell, after]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A name without control characters, which could steer the terminal.
#[must_use]
pub fn printable(name: &str) -> String {
    name.chars()
        .map(
            |character| {
                if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }
            },
        )
        .collect()
}

/// A class name as it is shown: without control characters and at most [`NAME_WIDTH`] columns wide.
fn shown_name(name: &str) -> String {
    let name = printable(name);
    if name.width() <= NAME_WIDTH {
        return name;
    }
    let mut shown = String::new();
    let mut width = 0;
    for character in name.chars() {
        width += character.width().unwrap_or(0);
        if width >= NAME_WIDTH {
            break;
        }
        shown.push(character);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Evaluator;

    /// An evaluation whose confusion matrix is this one.
    fn evaluation(classes: &[&str], confusion: &[&[u64]]) -> Evaluation {
        let mut evaluator =
            Evaluator::new(classes.iter().map(|class| (*class).to_owned()).collect());
        for (true_class, counts) in confusion.iter().enumerate() {
            for (predicted, &count) in counts.iter().enumerate() {
                let mut logits = vec![0.0; classes.len()];
                logits[predicted] = 1.0;
                for _ in 0..count {
                    evaluator.add(&logits, &[true_class as u32]);
                }
            }
        }
        evaluator.finish().unwrap()
    }

    #[test]
    fn two_classes() {
        let table =
            evaluation_table(&evaluation(&["hotdog", "not-hotdog"], &[&[94, 6], &[0, 100]]));
        let expected = "\
accuracy           0.9700  (194 of 200 images; 95 % interval 0.9361 to 0.9862)
balanced accuracy  0.9700
loss               0.3433

class       images  precision  recall      F1
hotdog         100     1.0000  0.9400  0.9691
not-hotdog     100     0.9434  1.0000  0.9709

confusion (rows: true class; columns: predicted class)
                1    2
hotdog      1  94    6
not-hotdog  2   ·  100
";
        assert_eq!(table, expected);
    }

    #[test]
    fn any_script_is_aligned_and_long_and_hostile_names_are_tamed() {
        let classes = [
            "寿司",
            "قطة",
            "e\u{301}clair",
            "a name that is a good deal too long",
            "\u{1b}[31mred\n",
        ];
        let rows: [&[u64]; 5] = [
            &[1, 0, 0, 0, 0],
            &[0, 0, 12, 0, 0],
            &[0, 0, 1, 0, 0],
            &[0, 0, 0, 1, 0],
            &[0, 0, 0, 0, 0],
        ];
        let expected = "\
accuracy           0.2000  (3 of 15 images; 95 % interval 0.0705 to 0.4519)
balanced accuracy  0.7500
loss               1.7048

class                         images  precision  recall      F1
寿司                               1     1.0000  1.0000  1.0000
قطة                               12          –  0.0000  0.0000
e\u{301}clair                             1     0.0769  1.0000  0.1429
a name that is a good deal …       1     1.0000  1.0000  1.0000
\u{fffd}[31mred\u{fffd}                          0          –       –       –

confusion (rows: true class; columns: predicted class)
                                 1  2   3  4  5
寿司                          1  1  ·   ·  ·  ·
قطة                           2  ·  ·  12  ·  ·
e\u{301}clair                        3  ·  ·   1  ·  ·
a name that is a good deal …  4  ·  ·   ·  1  ·
\u{fffd}[31mred\u{fffd}                     5  ·  ·   ·  ·  ·
";
        assert_eq!(evaluation_table(&evaluation(&classes, &rows)), expected);
    }

    #[test]
    fn many_classes_list_the_most_confused_pairs() {
        let names: Vec<String> = (0..21).map(|number| format!("class {number}")).collect();
        let mut rows = vec![vec![0; 21]; 21];
        for (class, row) in rows.iter_mut().enumerate() {
            row[class] = 10;
        }
        rows[3][20] = 4;
        rows[7][2] = 5;
        rows[1][0] = 4;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows: Vec<&[u64]> = rows.iter().map(Vec::as_slice).collect();
        let table = evaluation_table(&evaluation(&names, &rows));
        let expected = "
most confused
true class  taken for  images  of
class 7     class 2         5  15
class 1     class 0         4  14
class 3     class 20        4  14
";
        assert!(table.contains("top-5 accuracy     0.9"), "{table}");
        assert!(table.ends_with(expected), "{table}");
    }

    #[test]
    fn many_classes_without_a_mistake_say_so() {
        let mut evaluator = Evaluator::new((0..21).map(|number| number.to_string()).collect());
        let mut logits = vec![0.0; 21];
        logits[4] = 1.0;
        evaluator.add(&logits, &[4]);
        let expected = "
class  images  precision  recall      F1
4           1     1.0000  1.0000  1.0000
and 20 classes without images, none of which was predicted

no class was taken for another
";
        let table = evaluation_table(&evaluator.finish().unwrap());
        assert!(table.ends_with(expected), "{table}");
    }

    #[test]
    fn images_without_a_prediction_are_said() {
        let mut evaluator = Evaluator::new(vec!["a".to_owned(), "b".to_owned()]);
        evaluator.add(&[f32::NAN, 0.0], &[0]);
        let expected = "\
accuracy           0.0000  (0 of 1 images; 95 % interval 0.0000 to 0.7935)
balanced accuracy  0.0000
loss               –
no prediction      1  (the network gave no finite numbers: counted as wrong)
";
        let table = evaluation_table(&evaluator.finish().unwrap());
        assert!(table.starts_with(expected), "{table}");
    }
}
