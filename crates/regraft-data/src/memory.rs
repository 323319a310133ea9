//! The memory that is available.

use std::path::Path;

/// Bytes that this process may still allocate without displacing others, according to the operating
/// system (on Linux: the machine's available memory, and the rest of the control group's limit);
/// `None` if the system does not report it.
#[must_use]
pub fn available() -> Option<u64> {
    let machine =
        std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_of(&text))?;
    Some(group_left(Path::new("/sys/fs/cgroup")).map_or(machine, |left| machine.min(left)))
}

/// Bytes of memory that this process could ever have, including swap (on Linux: at most the control
/// group's limit); `None` if the system does not report it.
#[must_use]
pub fn total() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let machine =
        field_of(&text, "MemTotal:")?.saturating_add(field_of(&text, "SwapTotal:").unwrap_or(0));
    Some(
        group_number(Path::new("/sys/fs/cgroup"), "memory.max")
            .map_or(machine, |limit| machine.min(limit)),
    )
}

fn available_of(meminfo: &str) -> Option<u64> {
    field_of(meminfo, "MemAvailable:")
}

/// A line's number of KiB, in bytes.
fn field_of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The rest of the limit of the control group (version 2) at `folder`, if it has one.
fn group_left(folder: &Path) -> Option<u64> {
    Some(
        group_number(folder, "memory.max")?.saturating_sub(group_number(folder, "memory.current")?),
    )
}

/// A number of bytes from a file in a control group's folder, unless it is `max`.
fn group_number(folder: &Path, name: &str) -> Option<u64> {
    std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_report_is_parsed() {
        let text = "MemTotal:       24612345 kB\nMemFree:          100000 kB\nMemAvailable:   \
            23456789 kB\n";
        assert_eq!(available_of(text), Some(23_456_789 * 1024));
        assert_eq!(available_of("MemTotal: 1 kB"), None);
        assert_eq!(field_of(text, "MemTotal:"), Some(24_612_345 * 1024));
        let folder = tempfile::TempDir::new().expect("a folder");
        assert_eq!(group_left(folder.path()), None);
        std::fs::write(folder.path().join("memory.max"), "1000\n").expect("written");
        std::fs::write(folder.path().join("memory.current"), "400\n").expect("written");
        assert_eq!(group_left(folder.path()), Some(600));
        std::fs::write(folder.path().join("memory.max"), "max\n").expect("written");
        assert_eq!(group_left(folder.path()), None);
    }
}
