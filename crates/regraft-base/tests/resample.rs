//! Compares resizing with Pillow (fixtures by `fixtures/images.py`).

use regraft_base::random::{Draws, Purpose};
use regraft_base::resample::{Filter, Rectangle, resize_rgb};

const SEED: u64 = 7;

/// An image of the fixture stream: the upper eight bits of each draw, with values near the ends set
/// to 0 and 255.
fn source(sample: u32, (width, height): (usize, usize)) -> Vec<u8> {
    let mut draws = Draws::new(SEED, Purpose::Fixture, 0, sample);
    let level = |word: u32| match (word >> 24) as u8 {
        0..32 => 0,
        level @ 32..224 => level,
        224.. => 255,
    };
    (0..width * height * 3).map(|_| level(draws.next_u32())).collect()
}

fn pair(value: &serde_json::Value) -> (usize, usize) {
    (value[0].as_u64().unwrap() as usize, value[1].as_u64().unwrap() as usize)
}

fn bytes(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn resizes_equal_pillows_to_the_level() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("fixtures/resample.json")).unwrap();
    assert!(cases.len() >= 32);
    for case in &cases {
        let (source_size, size) = (pair(&case["source"]), pair(&case["size"]));
        let corner = |first: usize| case["crop"][first].as_u64().unwrap() as usize;
        let crop =
            Rectangle { left: corner(0), top: corner(1), width: corner(2), height: corner(3) };
        let filter = if case["filter"] == "bilinear" { Filter::Bilinear } else { Filter::Bicubic };
        let pixels = source(case["sample"].as_u64().unwrap() as u32, source_size);
        let mut output = vec![0; size.0 * size.1 * 3];
        resize_rgb(
            &pixels,
            source_size,
            crop,
            size,
            Rectangle::whole(size.0, size.1),
            filter,
            &mut output,
        );
        let expected = bytes(case["pixels"].as_str().unwrap());
        let worst = output.iter().zip(&expected).map(|(ours, theirs)| ours.abs_diff(*theirs)).max();
        assert!(
            output == expected,
            "{source_size:?} {crop:?} to {size:?} {filter:?}: differs by up to {worst:?} levels"
        );
    }
}

#[test]
fn a_window_is_that_part_of_the_whole() {
    let source_size = (53, 47);
    let pixels = source(99, source_size);
    let crop = Rectangle { left: 4, top: 3, width: 41, height: 40 };
    for size in [(30, 26), (90, 70), (41, 26), (30, 40), (41, 40)] {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            let mut whole = vec![0; size.0 * size.1 * 3];
            resize_rgb(
                &pixels,
                source_size,
                crop,
                size,
                Rectangle::whole(size.0, size.1),
                filter,
                &mut whole,
            );
            let window = Rectangle { left: 7, top: 5, width: 19, height: 20 };
            let mut part = vec![0; window.width * window.height * 3];
            resize_rgb(&pixels, source_size, crop, size, window, filter, &mut part);
            let rows = whole.chunks_exact(size.0 * 3).skip(window.top).take(window.height);
            let expected: Vec<u8> = rows
                .flat_map(|row| row[window.left * 3..(window.left + window.width) * 3].to_vec())
                .collect();
            assert_eq!(part, expected, "{size:?} {filter:?}");
        }
    }
}

#[test]
#[should_panic(expected = "reaches beyond")]
fn a_crop_beyond_the_image_is_refused() {
    let crop = Rectangle { left: 3, top: 0, width: 2, height: 4 };
    resize_rgb(
        &[0; 48],
        (4, 4),
        crop,
        (1, 1),
        Rectangle::whole(1, 1),
        Filter::Bilinear,
        &mut [0; 3],
    );
}
