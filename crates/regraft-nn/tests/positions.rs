//! Position embeddings of another number of patches, against timm's: `fixtures/positions.py` in the
//! repository makes the reference values.

use regraft_base::random::{Draws, Purpose};
use regraft_nn::weights::positions::{grid, resample};
use std::path::Path;

const CHANNELS: usize = 5;

#[test]
fn position_embeddings_are_interpolated_as_by_timm() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/positions.json");
    let text = std::fs::read(path).expect("the fixture");
    let cases: Vec<(usize, usize, usize, Vec<f32>)> =
        serde_json::from_slice(&text).expect("the fixture is JSON");
    assert_eq!(cases.len(), 6);
    for (sample, (before, from, to, expected)) in (0..).zip(cases) {
        let mut draws = Draws::new(2024, Purpose::Fixture, 0, sample);
        let length = (before + from * from) * CHANNELS;
        let values: Vec<f32> = (0..length).map(|_| 2.0 * draws.uniform() - 1.0).collect();
        let found = resample(&values, CHANNELS, before + to * to).expect("grids");
        assert_eq!(found.len(), expected.len());
        let largest = found
            .iter()
            .zip(&expected)
            .fold(0.0f32, |largest, (found, expected)| largest.max((found - expected).abs()));
        assert!(largest < 2e-6, "{from} to {to}: {largest:e}");
        assert_eq!(found[..before * CHANNELS], values[..before * CHANNELS]);
    }
}

#[test]
fn numbers_that_are_not_of_a_grid_are_told() {
    assert_eq!(grid(0), None);
    assert_eq!(grid(1), Some((1, 0)));
    assert_eq!(grid(196), Some((14, 0)));
    assert_eq!(grid(197), Some((14, 1)));
    assert_eq!(grid(200), None);
    assert_eq!(resample(&[0.0; 20], 5, 9), Some(vec![0.0; 45]));
    assert_eq!(resample(&[0.0; 20], 5, 10), None, "another number before the grid");
    assert_eq!(resample(&[0.0; 15], 5, 4), None);
}
