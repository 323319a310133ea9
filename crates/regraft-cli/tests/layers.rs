//! Imports point downward: between the modules of a crate there are no circles, and nothing above
//! the engines knows a device.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of all crates").to_owned()
}

/// The Rust files below a folder, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A file's code without its comments and the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("text");
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The names after `crate::` in a piece of code: one, or all of a list in braces.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        let name = |text: &str| {
            text.trim().chars().take_while(|&character| is_name(character)).collect::<String>()
        };
        match rest.strip_prefix('{') {
            None => drop(names.insert(name(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut start = 0;
                for (at, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth > 0 => depth -= 1,
                        ',' | '}' if depth == 0 => {
                            names.insert(name(&list[start..at]));
                            start = at + 1;
                            if character == '}' {
                                break;
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

/// The other modules that each module at the top of a crate imports.
fn imports(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in rust_files(source) {
        let first = path.strip_prefix(source).expect("below").components().next().expect("a name");
        let module = Path::new(&first).with_extension("").to_string_lossy().into_owned();
        imports.entry(module).or_default().extend(named_modules(&code(&path)));
    }
    let modules: BTreeSet<String> = imports.keys().cloned().collect();
    for (module, named) in &mut imports {
        named.retain(|name| modules.contains(name) && name != module);
    }
    imports
}

/// Imports that are still to be turned around, as `(crate, module, imported module)`: documents
/// know what runs and audits found, which use the documents' tables.
const UPWARD: [(&str, &str, &str); 2] =
    [("regraft", "report", "train"), ("regraft", "report", "transfer")];

/// The modules that are left after those that import none of the rest were taken out, again and
/// again: those in circles, and what imports them.
fn in_circles(mut imports: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let ends: BTreeSet<String> = imports
            .iter()
            .filter(|(_, named)| named.is_empty())
            .map(|(module, _)| module.clone())
            .collect();
        if ends.is_empty() {
            return imports.into_keys().collect();
        }
        imports.retain(|module, _| !ends.contains(module));
        imports.values_mut().for_each(|named| named.retain(|name| !ends.contains(name)));
    }
}

#[test]
fn modules_of_a_crate_import_in_no_circle() {
    let mut checked = 0;
    for entry in fs::read_dir(crates()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mut imports = imports(&path.join("src"));
        for (_, module, imported) in UPWARD.iter().filter(|(name, ..)| path.ends_with(name)) {
            let named = imports.get_mut(*module).expect("a module");
            assert!(
                named.remove(*imported),
                "{module} no longer imports {imported}: remove the line of `UPWARD`"
            );
        }
        let circles = in_circles(imports);
        assert!(
            circles.is_empty(),
            "{}: these modules are in circles, or import some that are: {circles:?}",
            path.display()
        );
        checked += 1;
    }
    assert!(checked >= 8, "{checked} crates");
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str, named: &[&str]| {
        (name.to_owned(), named.iter().map(|&name| name.to_owned()).collect())
    };
    let circles = in_circles(
        [module("a", &["b"]), module("b", &["c"]), module("c", &["b"]), module("d", &[])].into(),
    );
    assert_eq!(circles, ["a", "b", "c"]);
    let named = named_modules(
        "use crate::{amx, gemm::{Left, multiply}, isa};\nlet x = crate::memory::lines_for;",
    );
    assert_eq!(named, ["amx", "gemm", "isa", "memory"].map(str::to_owned).into());
}

/// Where engines, kernels and instruction sets may be named: in the engine's crates, in the one
/// module that opens engines, in the solver's linear algebra, which runs on the processor whatever
/// the device is, and in the arithmetic of JPEG.
const ENGINES: [&str; 7] = [
    "regraft-cpu/src",
    "regraft-gpu/src",
    "regraft-kernels/src",
    "regraft-amx-emulator/src",
    "regraft/src/engines",
    "regraft/src/algebra.rs",
    "regraft-data/src/decode/jpeg",
];

/// The names that only they may use.
const OF_ENGINES: [&str; 11] = [
    "CpuEngine",
    "CpuError",
    "regraft_cpu",
    "GpuEngine",
    "GpuError",
    "regraft_gpu",
    "regraft_kernels",
    "InstructionSet",
    "avx512",
    "amx::",
    "isa::",
];

#[test]
fn only_the_engines_crates_and_what_opens_them_name_an_engine() {
    let mut checked = 0;
    for entry in fs::read_dir(crates()).expect("a folder") {
        let source = entry.expect("an entry").path().join("src");
        for path in rust_files(&source) {
            let name = path.strip_prefix(crates()).expect("below");
            if ENGINES.iter().any(|allowed| name.starts_with(allowed)) {
                continue;
            }
            let code = code(&path);
            let found: Vec<&str> =
                OF_ENGINES.into_iter().filter(|word| code.contains(word)).collect();
            assert!(found.is_empty(), "{} names {found:?}: ask `engines` for it", name.display());
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked} files");
    let opens: String = ["mod.rs", "gpu.rs"]
        .map(|file| code(&crates().join("regraft/src/engines").join(file)))
        .concat();
    assert!(
        OF_ENGINES[..6].iter().all(|word| opens.contains(word)),
        "the words are those that the engine's users use"
    );
}
