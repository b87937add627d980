use scribe_hooks::Host;
use scribe_hooks_contract::effects::{Command, FreezeError, Target};
use scribe_hooks_contract::grants::{ExecGrant, Grants};

use crate::net::{Mapped, host};

fn command(timeout_seconds: u32) -> Command {
    Command { argv: vec!["db-lock".into()], stdin: Vec::new(), timeout_seconds, max_output: 100 }
}

/// It is told while the hook freezes, and not when something stands still and others wait.
#[tokio::test]
async fn what_undoes_may_not_take_for_ever() {
    let grant = ExecGrant {
        pod_selector: [("app".to_owned(), "db".to_owned())].into(),
        containers: vec!["db".into()],
        commands: vec![vec!["db-lock".into()]],
    };
    let grants = Grants { exec: vec![grant], ..Grants::default() };
    let target = Target {
        pod: None,
        label_selector: Some("app=db".into()),
        container: Some("db".into()),
        all_matching: false,
    };
    let host = host(Mapped::new("127.0.0.1:9".parse().unwrap(), &[]), None);
    let permit = || grants.permit_exec(&target, &[&command(1)]).unwrap();
    let long = host.freeze_exec_with_undo(permit(), command(10), command(121)).await;
    assert!(matches!(&long, Err(FreezeError::Failed(why)) if why.contains("120 s")), "{long:?}");
    let short = host.freeze_exec_with_undo(permit(), command(10), command(120)).await;
    assert!(!format!("{short:?}").contains("120 s"), "{short:?}");
}
