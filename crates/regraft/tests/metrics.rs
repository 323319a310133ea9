//! The metrics against those of scikit-learn, statsmodels and scipy (`fixtures/metrics.py`).

use regraft::metrics::{
    Evaluator, FittedOn, LogitSample, Temperature, softmax, wilson_interval_95,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    wilson_intervals_95: Vec<(u64, u64, f64, f64)>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    class_count: usize,
    logits: Vec<f32>,
    labels: Vec<u32>,
    correct: u64,
    accuracy: f64,
    accuracy_interval_95: [f64; 2],
    top5_accuracy: Option<f64>,
    balanced_accuracy: f64,
    loss: f64,
    support: Vec<u64>,
    precision: Vec<Option<f64>>,
    recall: Vec<Option<f64>>,
    f1: Vec<Option<f64>>,
    confusion: Vec<Vec<u64>>,
    first_probabilities: Vec<f64>,
    brier_score: f64,
    temperature: Option<(f64, f64)>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/metrics.json")).unwrap()
}

fn assert_close(what: &str, value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{what}: {value} is not {expected}");
}

fn assert_close_where_defined(what: &str, value: Option<f64>, expected: Option<f64>) {
    assert_eq!(value.is_some(), expected.is_some(), "{what}: {value:?} is not {expected:?}");
    if let (Some(value), Some(expected)) = (value, expected) {
        assert_close(what, value, expected);
    }
}

#[test]
fn evaluations_are_those_of_scikit_learn() {
    let cases = fixture().cases;
    assert!(!cases.is_empty());
    for case in cases {
        let mut evaluator =
            Evaluator::new((0..case.class_count).map(|class| class.to_string()).collect());
        // Batches of seven with a smaller last one.
        for (logits, labels) in case.logits.chunks(7 * case.class_count).zip(case.labels.chunks(7))
        {
            evaluator.add(logits, labels);
        }
        let evaluation = evaluator.finish().unwrap();
        let what = |metric: &str| format!("{}: {metric}", case.name);
        assert_eq!(evaluation.images, case.labels.len() as u64, "{}", case.name);
        assert_eq!(evaluation.correct, case.correct, "{}", case.name);
        assert_eq!(evaluation.confusion, case.confusion, "{}", case.name);
        assert_eq!(evaluation.images_without_prediction, 0, "{}", case.name);
        assert_close(&what("accuracy"), evaluation.accuracy, case.accuracy);
        for (value, expected) in
            evaluation.accuracy_interval_95.into_iter().zip(case.accuracy_interval_95)
        {
            assert_close(&what("interval"), value, expected);
        }
        assert_close(
            &what("balanced accuracy"),
            evaluation.balanced_accuracy,
            case.balanced_accuracy,
        );
        assert_close_where_defined(&what("top-5"), evaluation.top5_accuracy, case.top5_accuracy);
        assert_close_where_defined(&what("loss"), evaluation.loss, Some(case.loss));
        // Probabilities are rounded to f32.
        let error = (evaluation.brier_score - case.brier_score).abs();
        assert!(
            error < 1e-6,
            "{}: {} is not {}",
            case.name,
            evaluation.brier_score,
            case.brier_score
        );
        for (class, report) in evaluation.per_class.iter().enumerate() {
            let what = |metric: &str| format!("{}: {metric} of class {class}", case.name);
            assert_eq!(report.images, case.support[class], "{}", what("images"));
            assert_close_where_defined(&what("precision"), report.precision, case.precision[class]);
            assert_close_where_defined(&what("recall"), report.recall, case.recall[class]);
            assert_close_where_defined(&what("F1"), report.f1, case.f1[class]);
        }
    }
}

#[test]
fn temperatures_are_those_of_scipy() {
    let mut fitted = 0;
    for case in fixture().cases {
        let mut sample = LogitSample::new(case.labels.len(), case.class_count);
        let rows = case.logits.chunks(case.class_count).zip(&case.labels).enumerate();
        rows.for_each(|(image, (row, &label))| sample.set(image, label, row.iter().copied()));
        let found = Temperature::fit(&sample, FittedOn::Validation).expect("a temperature");
        assert_eq!(found.images, case.labels.len() as u64, "{}", case.name);
        assert_close(&format!("{}: loss before", case.name), found.loss_before, case.loss);
        let Some((temperature, loss)) = case.temperature else {
            assert_eq!(found.temperature, 1.0, "{}", case.name);
            continue;
        };
        // At a minimum, a bracketing search knows the place to the root of the precision.
        let error = (found.temperature / temperature - 1.0).abs();
        assert!(error < 1e-6, "{}: {} is not {temperature}", case.name, found.temperature);
        // The divided logits are rounded to f32.
        let error = (found.loss_after - loss).abs();
        assert!(error < 1e-7, "{}: {} is not {loss}", case.name, found.loss_after);
        assert!(found.loss_after <= found.loss_before, "{}", case.name);
        fitted += 1;
    }
    assert!(fitted > 2);
}

#[test]
fn probabilities_are_those_of_a_softmax_in_f64() {
    for case in fixture().cases {
        let probabilities = softmax(&case.logits[..case.class_count]);
        for (probability, expected) in probabilities.iter().zip(&case.first_probabilities) {
            let error = (f64::from(*probability) - expected).abs();
            assert!(error < 1e-7, "{}: {probability} is not {expected}", case.name);
        }
    }
}

#[test]
fn intervals_are_those_of_statsmodels() {
    for (successes, trials, low, high) in fixture().wilson_intervals_95 {
        let interval = wilson_interval_95(successes, trials);
        assert_close(&format!("{successes} of {trials}, low"), interval[0], low);
        assert_close(&format!("{successes} of {trials}, high"), interval[1], high);
    }
}

#[test]
fn batch_sizes_change_nothing() {
    for case in fixture().cases {
        let evaluation = |batch: usize| {
            let mut evaluator = Evaluator::new(vec![String::new(); case.class_count]);
            for (logits, labels) in
                case.logits.chunks(batch * case.class_count).zip(case.labels.chunks(batch))
            {
                evaluator.add(logits, labels);
            }
            evaluator.finish().unwrap()
        };
        assert_eq!(evaluation(1), evaluation(64), "{}", case.name);
    }
}
