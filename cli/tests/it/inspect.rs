//! `hook inspect`.

use crate::modules::proceeds;
use crate::setup::Folder;

#[test]
fn a_module_is_described() {
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    let shown = folder.hook(&["inspect", "m.wasm"]).ok();
    for text in [
        "test 1\n",
        "digest    sha256:",
        "API       scribe:hooks@0.1.0",
        "points    Decision",
        "scribe:hooks/decision@0.1.0",
    ] {
        assert!(shown.stdout.contains(text), "{text}\n{}", shown.stdout);
    }
    let json = folder.hook(&["inspect", "-o", "json", "m.wasm"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json[0]["name"].as_str(), json[0]["points"][0].as_str()), (Some("test"), Some("Decision")));
    assert!(json[0]["compiledSize"].as_u64() > json[0]["size"].as_u64());
}

#[test]
fn what_is_wrong_with_a_module_is_said_in_words() {
    let folder = Folder::new();
    folder.write("empty.wasm", "");
    folder.write("text.wasm", "hello, there");
    folder.write("core.wasm", b"\0asm\x01\0\0\0");
    folder.write("nothing.wasm", wat::parse_str("(component)").unwrap());
    folder.write("good.wasm", proceeds());
    folder
        .hook(&["inspect", "empty.wasm", "text.wasm", "core.wasm", "nothing.wasm", "good.wasm"])
        .failed()
        .says("HookModuleInvalid: the module is empty")
        .says("HookModuleInvalid: the module is not WebAssembly")
        .says("is a core module and not a component: build it for wasm32-wasip2")
        .says("the module does not export scribe:hooks/settings")
        .says("points    Decision");
    let json = folder.hook(&["inspect", "-o", "json", "empty.wasm"]).failed().stdout;
    assert!(json.contains("\"reason\": \"HookModuleInvalid\""), "{json}");
    folder.hook(&["inspect", "nowhere.wasm"]).failed().complains("open nowhere.wasm: No such file");
}
