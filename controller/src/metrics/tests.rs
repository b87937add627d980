use super::*;
use scribe_crds::conditions::Reason;
use std::collections::BTreeMap;

fn owner() -> Owner {
    Owner { side: Side::Source, namespace: "app".to_owned(), name: "db".to_owned() }
}

fn facts(phase: Phase) -> Facts {
    let recovery_point = Some("2026-01-01T00:00:00Z".parse().unwrap());
    Facts { phase: Some(phase), recovery_point, objective: Some(900.0), ..Facts::default() }
}

#[test]
fn an_object_has_series_until_it_is_gone() {
    let metrics = Metrics::new().unwrap();
    metrics.show("1", &owner(), &facts(Phase::Transferring));
    metrics.show("1", &owner(), &facts(Phase::Waiting));
    let failed = SyncEnded { result: SyncResult::Failure, reason: Some(Reason::DestinationFull) };
    metrics.ended("1", &owner(), &failed, Some(&Transfer { bytes_sent: 7, ..Transfer::default() }));
    metrics.tripped(&owner(), Guard::EmptySource);
    let text = metrics.text().unwrap();
    for line in [
        r#"scribe_replication_recovery_point_timestamp_seconds{name="db",namespace="app",side="source"} 1767225600"#,
        r#"scribe_replication_rpo_objective_seconds{name="db",namespace="app",side="source"} 900"#,
        r#"scribe_replication_state{name="db",namespace="app",side="source",state="Waiting"} 1"#,
        r#"scribe_replication_state{name="db",namespace="app",side="source",state="Transferring"} 0"#,
        r#"scribe_syncs_total{name="db",namespace="app",reason="DestinationFull",result="failure",side="source"} 1"#,
        r#"scribe_guard_trips_total{guard="EmptySource",name="db",namespace="app",side="source"} 1"#,
        r#"scribe_transfer_bytes_total{kind="wire",name="db",namespace="app",side="source"} 7"#,
        r#"scribe_sync_phase_duration_seconds_count{phase="Transferring",side="source"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    metrics.forget("1", &owner());
    let text = metrics.text().unwrap();
    assert!(!text.contains(r#"name="db""#), "{text}");
    assert!(text.contains("scribe_build_info"), "{text}");
}

#[test]
fn a_recovery_point_that_is_not_known_has_no_series() {
    let metrics = Metrics::new().unwrap();
    metrics.show("1", &owner(), &facts(Phase::Waiting));
    metrics.show("1", &owner(), &Facts { phase: Some(Phase::Waiting), ..Facts::default() });
    assert!(!metrics.text().unwrap().contains("recovery_point_timestamp_seconds{"));
}

#[test]
fn a_reconcile_that_is_dropped_was_abandoned() {
    let metrics = Metrics::new().unwrap();
    drop(metrics.reconcile(Side::Source));
    metrics.reconcile(Side::Source).finish(Outcome::Settled);
    let text = metrics.text().unwrap();
    assert!(text.contains(r#"scribe_reconciles_total{result="abandoned",side="source"} 1"#), "{text}");
    assert!(text.contains(r#"scribe_reconciles_total{result="settled",side="source"} 1"#), "{text}");
}

#[test]
fn namespaces_without_movers_have_no_series() {
    let metrics = Metrics::new().unwrap();
    metrics.movers.show(&BTreeMap::from([("shop", (2, 1)), ("bank", (1, 0))]));
    let text = metrics.text().unwrap();
    for line in
        ["scribe_source_movers_running{namespace=\"shop\"} 2", "scribe_syncs_waiting{namespace=\"bank\"} 0"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    metrics.movers.show(&BTreeMap::from([("bank", (0, 3))]));
    let text = metrics.text().unwrap();
    assert!(
        !text.contains("namespace=\"shop\"") && text.contains("scribe_syncs_waiting{namespace=\"bank\"} 3")
    );
}
