//! Memory over many epochs.

use crate::workspace::Workspace;
use std::time::Duration;

/// The memory of a process in KiB, as Linux counts it.
fn resident_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[test]
fn memory_does_not_grow_over_two_hundred_epochs() {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: memory_does_not_grow...: the resident size is read as Linux shows it");
        return;
    }
    let workspace = Workspace::with_photos();
    let mut child = workspace.start(
        "train photos --image-size 32 --head new --epochs 200 --batch-size 4 \
            --schedule constant --no-report --output run",
    );
    let epochs = || {
        let text = std::fs::read_to_string(workspace.path("run/metrics.csv")).unwrap_or_default();
        text.lines().count().saturating_sub(1)
    };
    let mut sizes: Vec<(usize, u64)> = Vec::new();
    while child.try_wait().expect("a child").is_none() {
        let done = epochs();
        if let Some(size) = resident_kib(child.id())
            && done >= 20
        {
            sizes.push((done, size));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().expect("it ends").success());
    assert_eq!(epochs(), 200);
    let largest = |range: std::ops::Range<usize>| {
        sizes
            .iter()
            .filter(|(epoch, _)| range.contains(epoch))
            .map(|&(_, size)| size)
            .max()
            .expect("a size")
    };
    let (early, late) = (largest(20..60), largest(160..201));
    println!("resident: at most {early} KiB in epochs 20 to 60, {late} KiB in epochs 160 to 200");
    assert!(
        late < early + early / 20,
        "{early} KiB in epochs 20 to 60, {late} KiB in epochs 160 to 200"
    );
}
