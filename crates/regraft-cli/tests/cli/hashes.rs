//! The bits that fixed runs leave. A change of code that is to change no number leaves these hashes
//! as they are; one that is to change numbers replaces them. `bench/hashes.py` does the same with
//! more and longer runs.
//!
//! The C library's `exp`, `ln` and `cos` take part. Should a hash differ with nothing changed,
//! compare that library first.

use crate::pictures::{Look, picture};
use crate::workspace::Workspace;
use sha2::{Digest, Sha256};

/// Flags, and the hash of the tensors in f32 and in bf16.
const RUNS: [(&str, [&str; 2]); 6] = [
    ("", ["3ef68da446f833a5", "791b44ae0b4ea6e5"]),
    ("--recipe d2l --epochs 1 --batch-size 4", ["36826de476f4d24c", "c8fac4856f778c44"]),
    (
        "--head new --freeze none --epochs 1 --batch-size 4",
        ["c2821ef3e6a9f1f9", "fd4c23916fc8fb74"],
    ),
    (
        "--head reuse --freeze through=blocks.5 --epochs 1 --batch-size 4",
        ["c57473b8b27d473e", "47178de57ad21f4c"],
    ),
    (
        "--model resnet18 --weights none --epochs 1 --batch-size 4 --lr 1e-4",
        ["f70620064cb13a5c", "3dd58183a563ca68"],
    ),
    (
        "--head new --freeze none --epochs 1 --batch-size 4 --ema 0.99 --mixup 0.2 --cutmix 1 \
         --accumulate 2 --clip-gradient 1",
        ["497d9ede0fa4195d", "0b1e36eb9cf3ebb8"],
    ),
];

/// Images as PNG, whose pixels no encoder changes, of classes that ImageNet knows.
fn photos() -> Workspace {
    let workspace = Workspace::new();
    for (class, look) in [("banana", Look::Blue), ("lemon", Look::Striped)] {
        for (part, numbers) in [("train", 0..6), ("test", 6..8)] {
            let folder = workspace.path(&format!("photos/{part}/{class}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for number in numbers {
                picture(look, number).save(folder.join(format!("{number}.png"))).expect("an image");
            }
        }
    }
    workspace
}

/// The first 16 digits of the SHA-256 of the tensors' bytes: what follows the header, which holds
/// the version and metrics.
fn hash(file: &[u8]) -> String {
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    Sha256::digest(&file[8 + length..]).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn fixed_runs_leave_the_same_bits_on_every_machine() {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        eprintln!("skipped: this processor lacks AVX2, for which the hashes are");
        return;
    }
    let workspace = photos();
    let mut found = Vec::new();
    for (number, (flags, _)) in RUNS.iter().enumerate() {
        found.push(["f32", "bf16"].map(|precision| {
            let run = format!("{precision}-{number}");
            let arguments = format!(
                "train photos --image-size 32 --precision {precision} {flags} --output {run}"
            );
            workspace.regraft_with(&arguments, &[("REGRAFT_ISA", "avx2")]).succeeded();
            hash(&workspace.read(&format!("{run}/model.safetensors")))
        }));
    }
    let expected: Vec<[&str; 2]> = RUNS.iter().map(|(_, hashes)| *hashes).collect();
    assert_eq!(found, expected, "other bits than before");
}
