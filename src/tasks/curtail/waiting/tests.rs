//! Each bound from both sides, without a disk.

use super::*;

#[test]
fn of_rows_with_one_key_the_latest_waits_alone() {
    let mut waiting = Waiting::default();
    for n in 0..1_000 {
        waiting.batch.fences.push(row("ems", n));
        waiting.batch.machines.push(row("m1", n));
        waiting.batch.intents.push(row("m1", n));
        waiting.batch.orders.push(order(7, true, n));
    }
    waiting.bound();
    assert_eq!(waiting.batch.fences, [row("ems", 999)]);
    assert_eq!(waiting.batch.machines, [row("m1", 999)]);
    assert_eq!(waiting.batch.intents, [row("m1", 999)]);
    assert_eq!(waiting.batch.orders, [order(7, true, 999)]);
}

#[test]
fn an_audit_of_just_the_most_bytes_is_kept_and_with_one_more_the_oldest_goes() {
    let mut waiting = Waiting::default();
    waiting.batch.audit = vec![entry(1, MOST_AUDIT_BYTES - 10), entry(2, 10)];
    assert!(!waiting.bound());
    assert_eq!(waiting.batch.audit.len(), 2);
    waiting.batch.audit = vec![entry(1, MOST_AUDIT_BYTES - 9), entry(2, 10)];
    assert!(waiting.bound());
    assert_eq!(waiting.batch.audit[1..], [entry(2, 10)]);
    let lost = format!(
        r#"{{"entries":1,"bytes":{},"from_ms":1,"until_ms":1}}"#,
        MOST_AUDIT_BYTES - 9
    );
    assert_eq!(waiting.batch.audit[0].body, lost);
}

#[test]
fn just_the_most_entries_are_kept_and_one_more_costs_the_oldest() {
    let mut waiting = Waiting::default();
    let entries = (0..MOST_ENTRIES).map(|at| entry(at as i64, 10));
    waiting.batch.audit.extend(entries);
    assert!(!waiting.bound());
    assert_eq!(waiting.batch.audit.len(), MOST_ENTRIES);
    waiting.batch.audit.push(entry(9_999, 10));
    assert!(waiting.bound());
    assert_eq!(waiting.batch.audit.len(), 1 + MOST_ENTRIES);
    assert_eq!(waiting.batch.audit[1], entry(1, 10));
}

#[test]
fn one_entry_counts_all_that_was_lost_until_it_is_written() {
    let mut waiting = Waiting::default();
    for at in 0..2_000 {
        waiting.batch.audit.push(entry(at, 10));
        waiting.bound();
    }
    let lost = r#"{"entries":1400,"bytes":14000,"from_ms":0,"until_ms":1399}"#;
    assert_eq!(waiting.batch.audit[0].body, lost);
    assert_eq!(waiting.batch.audit[1], entry(1_400, 10));
    let part = waiting.part();
    waiting.written(&part);
    waiting.batch.audit.push(entry(2_000, 10));
    assert!(!waiting.bound());
    assert_eq!(waiting.batch.audit, [entry(2_000, 10)]);
}

#[test]
fn an_end_is_kept_where_the_order_is_on_the_disk_and_else_for_the_newest_alone() {
    let mut waiting = Waiting::default();
    waiting.known(&[order(100, true, 0)]);
    for n in 1..=1_000 {
        waiting.batch.orders.push(order(n, n == 500, 0));
    }
    waiting.bound();
    let kept: Vec<u64> = waiting.batch.orders.iter().map(number).collect();
    assert_eq!(kept.iter().filter(|n| **n <= 100).count(), 100);
    assert!(kept.contains(&500), "open");
    assert_eq!(kept.len(), 100 + 1 + MOST_UNBORN);
    assert!(kept.contains(&1_000) && kept.contains(&937) && !kept.contains(&936));
}

#[test]
fn what_is_too_much_at_once_goes_in_parts_and_nothing_of_it_is_missing() {
    let mut waiting = Waiting::default();
    let rows = || {
        (0..20).map(|n| Row {
            key: format!("{n}"),
            body: "x".repeat(1024 * 1024),
        })
    };
    waiting.batch.machines.extend(rows());
    waiting.batch.audit.push(entry(1, 10));
    let first = waiting.part();
    assert!(first.bytes() <= MAX_BATCH_BYTES && first.audit.is_empty());
    waiting.give_back(first);
    assert!(waiting.batch.machines.iter().cloned().eq(rows()));
    let (first, second) = (waiting.part(), waiting.part());
    assert_eq!(first.machines.len() + second.machines.len(), 20);
    assert_eq!(second.audit, [entry(1, 10)]);
    assert!(waiting.batch.is_empty());
}

#[test]
fn one_entry_too_large_for_the_ledger_is_given_up() {
    let mut waiting = Waiting::default();
    waiting.batch.audit.push(entry(1, MAX_BATCH_BYTES + 1));
    let part = waiting.part();
    assert!(!part.is_empty(), "the ledger is to say what is wrong");
    waiting.give_back(part);
    assert!(waiting.bound());
    assert!(waiting.part().bytes() < 100);
}

fn row(key: &str, n: i64) -> Row {
    Row {
        key: key.into(),
        body: n.to_string(),
    }
}

fn order(n: u64, open: bool, changed_ms: i64) -> OrderRow {
    OrderRow {
        id: format!("{}-{n}", if n.is_multiple_of(2) { 'o' } else { 'r' }),
        open,
        body: "{}".into(),
        changed_ms,
    }
}

/// Of so many bytes.
fn entry(at_ms: i64, bytes: usize) -> Entry {
    Entry {
        at_ms,
        kind: "turn".into(),
        body: "x".repeat(bytes - 4),
    }
}
