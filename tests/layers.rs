//! The architecture as a test: who may use whom, what pure modules may name, how long a file may be, where `unsafe` may
//! stand. The table is the one in `src/lib.rs`; change both in one commit.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom, among our own modules. A module may always use itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("machine", &[]),
    ("work", &[]),
    ("stratum", &["work"]),
    ("proxy", &["machine", "work", "stratum"]),
    ("curtail", &["machine"]),
    ("actuators", &["curtail"]),
    ("feeds", &["curtail"]),
    ("telemetry", &["work", "proxy", "curtail"]),
    ("ledger", &["curtail", "telemetry"]),
    ("api", &["telemetry", "curtail", "ledger"]),
    (
        "tasks",
        &[
            "machine",
            "work",
            "stratum",
            "proxy",
            "curtail",
            "actuators",
            "feeds",
            "ledger",
            "telemetry",
            "api",
            "config",
        ],
    ),
    ("sim", &[]),
    (
        "config",
        &[
            "work",
            "stratum",
            "proxy",
            "curtail",
            "actuators",
            "feeds",
            "ledger",
        ],
    ),
];
/// Composition: these may use everything.
const FREE: &[&str] = &["app", "cli", "lib", "main"];
/// Modules without clock, chance, await, lock and I/O.
const PURE: &[&str] = &["machine", "work", "stratum", "proxy", "curtail", "feeds"];
/// Files that may do what their otherwise pure module may not.
const PURE_BUT: &[(&str, &str)] = &[("feeds", "fetch.rs")];
/// What a pure module never names.
const IMPURE: &[&str] = &[
    "tokio",
    "std::net",
    "std::fs",
    "std::io",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime",
    "getrandom",
    "Mutex",
    "RwLock",
    "async fn",
    ".await",
    "tracing::",
    "println!",
    "eprintln!",
];
/// Lines of code (not comments, blank lines or tests) in one file.
const STOP: usize = 500;

#[test]
fn every_module_uses_only_what_its_layer_may() {
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        if FREE.contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!(
                "{}: module `{module}` has no row in the layer table",
                path.display()
            ));
            continue;
        };
        for (number, line) in code(&path) {
            for used in crate_paths(&line) {
                if used != module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!(
                        "{}:{number}: `{module}` may not use `{used}`",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_name_no_clock_no_socket_no_lock_and_await_nothing() {
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        let is_excused = |(of, file): &(&str, &str)| *of == module && path.ends_with(file);
        if !PURE.contains(&module.as_str()) || PURE_BUT.iter().any(is_excused) {
            continue;
        }
        for (number, line) in code(&path) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!(
                    "{}:{number}: `{word}` in a pure module",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_two_protocols_never_name_each_other() {
    let mut wrong = Vec::new();
    for (path, _) in sources() {
        let text = path.to_string_lossy().into_owned();
        let foreign = if text.contains("/v1/") || text.ends_with("/v1.rs") {
            "v2::"
        } else if text.contains("/v2/") || text.ends_with("/v2.rs") {
            "v1::"
        } else {
            continue;
        };
        for (number, line) in code(&path) {
            if line.contains(foreign) {
                wrong.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_can_be_changed() {
    let roots = [
        "src",
        "tests",
        "benches",
        "fuzz/checks",
        "fuzz/fuzz_targets",
    ];
    let mut wrong = Vec::new();
    for path in roots
        .iter()
        .flat_map(|root| rust_files(&root_dir().join(root)))
    {
        let lines = code(&path).len();
        if lines > STOP {
            wrong.push(format!(
                "{}: {lines} lines of code, the stop is {STOP}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_nowhere_but_in_the_hash_kernels() {
    let word = concat!("un", "safe ");
    for (path, _) in sources() {
        let kernels = path.to_string_lossy().contains("/src/work/hash/");
        for (number, line) in code(&path) {
            assert!(
                kernels || !line.contains(word),
                "{}:{number}: {line}",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    for (path, _) in sources() {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        assert!(
            text.starts_with("//!"),
            "{} does not open with `//!`",
            path.display()
        );
    }
}

#[test]
fn no_queue_is_unbounded() {
    for (path, _) in sources() {
        for (number, line) in code(&path) {
            // `unbounded_shl` and `unbounded_shr` are shifts of integers.
            let names_one = line.replace("unbounded_sh", "").contains("unbounded");
            assert!(!names_one, "{}:{number}: {line}", path.display());
        }
    }
}

fn root_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file with the top-level module it belongs to.
fn sources() -> Vec<(PathBuf, String)> {
    let src = root_dir().join("src");
    let module = |path: &Path| {
        let inside = path.strip_prefix(&src).expect("listed under src");
        let first = inside
            .iter()
            .next()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let files = rust_files(&src);
    assert!(files.len() > 50, "the sources were not found");
    files
        .into_iter()
        .map(|path| (path.clone(), module(&path)))
        .collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Lines of code with their numbers: no comments, no blank lines, nothing from the first `#[cfg(test)]` of a line of its
/// own on (tests stand last).
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let is_test = |part: std::path::Component<'_>| {
        matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"))
    };
    let is_test_file = path
        .strip_prefix(root_dir().join("src"))
        .is_ok_and(|inside| inside.components().any(is_test));
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !is_test_file && line.trim_end() != "#[cfg(test)]")
        .map(|(at, line)| (at + 1, line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("//"))
        .collect()
}

/// The modules that a line reaches through `crate::`, also in a group.
fn crate_paths(line: &str) -> Vec<String> {
    let name = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut used = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(group.split(',').map(|part| name(part.trim()))),
            None => used.push(name(rest)),
        }
    }
    used.retain(|name| !name.is_empty());
    used
}
