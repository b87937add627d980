//! What arrives.

use crate::harness::Pair;

#[tokio::test]
async fn a_first_sync_brings_everything() {
    let pair = Pair::new();
    pair.write("a", "one");
    pair.write("folder/b", "two");
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync_well().await;
    pair.assert_same();
    assert_eq!(end.termination.counts.files_sent, 2);
    let commit = controller.policy().commits.remove(0);
    assert_eq!((commit.sync_id.as_str(), commit.counts), ("first", end.termination.counts));
}
