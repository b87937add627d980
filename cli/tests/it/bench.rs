//! `hook bench`.

use crate::modules::{proceeds, scales_down};
use crate::setup::Folder;

#[test]
fn costs_are_measured() {
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    folder.write("a.yaml", "call: decide\n");
    let json = folder.hook(&["bench", "m.wasm", "-i", "a.yaml", "-n", "50", "--json"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["calls"].as_u64(), json["function"].as_str()), (Some(50), Some("decide")));
    for field in [
        "compileMicros",
        "loadFromCacheMicros",
        "callP50Micros",
        "callP99Micros",
        "callMaxMicros",
        "fuel",
        "memory",
    ] {
        assert!(json[field].as_f64().unwrap() > 0.0, "{field}: {json}");
    }
    folder.write("b.yaml", "{}\n");
    folder
        .hook(&["bench", "m.wasm", "-i", "b.yaml", "--call", "decide", "-n", "5"])
        .ok()
        .says("load from cache");
}

#[test]
fn what_fails_is_not_measured() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write("a.yaml", "call: quiesce\n");
    folder.hook(&["bench", "m.wasm", "-i", "a.yaml"]).failed().complains("call 0 failed with HookDenied");
}
