//! `sluice bench` as a machine reads it: the shape of what it says.
//!
//! Not a test of speed: this build is not optimised, and others use the machine.

use serde_json::Value;
use std::process::{Command, Output};

#[test]
fn a_quick_bench_has_a_positive_figure_for_every_kernel_and_batch_size_and_for_all_else() {
    let output = bench(&["--quick", "--json"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let report: Value = serde_json::from_str(&told).expect("one JSON object");

    let figures = report["verdicts"]["figures"].as_array().unwrap();
    let mut kernels: Vec<_> = sluice::work::hash::kernels().map(|k| k.name()).collect();
    kernels.push("in force");
    for kernel in &kernels {
        for batch in [1, 2, 3, 4, 6, 8, 10, 16] {
            let wanted = |figure: &&Value| figure["kernel"] == *kernel && figure["batch"] == batch;
            let figure = figures.iter().find(wanted).expect("a figure for each");
            for key in ["ns_per_share", "verdicts_per_s", "hash_efficiency"] {
                assert_positive(figure, key);
            }
        }
    }
    assert_eq!(figures.len(), 8 * kernels.len());

    let lines = report["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for line in lines {
        for key in [
            "hashes_ns_per_share",
            "ns_per_share",
            "ratio",
            "long_way_ratio",
        ] {
            assert_positive(line, key);
        }
    }
    for key in ["ms", "copy_ms", "ratio"] {
        assert_positive(&report["fan_out"], key);
    }
    assert_positive(&report["connections"], "ratio");
    for server in ["bare", "proxy"] {
        assert_positive(&report["connections"][server], "cpu_us_per_share");
        assert_positive(&report["connections"][server], "shares_per_s");
    }
}

#[test]
fn a_kernel_can_be_named_and_a_person_is_told_which_judges() {
    let output = bench(&["--quick", "--kernel", "portable"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("as asked: 1-16 portable"), "{told}");
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(progress, "", "no progress but on a terminal");
}

#[test]
fn a_kernel_that_nobody_has_is_refused_with_those_that_this_machine_has() {
    let output = bench(&["--kernel", "abacus"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`abacus`"), "{said}");
    for kernel in sluice::work::hash::kernels() {
        assert!(said.contains(kernel.name()), "{said}");
    }
}

fn assert_positive(of: &Value, key: &str) {
    let value = of[key].as_f64().unwrap_or_default();
    assert!(value > 0.0 && value.is_finite(), "{key} of {of}");
}

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("bench")
        .args(args)
        .output()
        .expect("the program of this very build can be started")
}
