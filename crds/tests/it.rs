//! The committed YAML and the types say the same.

#[test]
fn the_committed_files_are_those_that_the_types_generate() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in scribe_crds::generated::files().expect("the definitions can be written") {
        let committed = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            committed == text,
            "crds/{name} is not what the types say: run `cargo xtask codegen` and commit the result"
        );
    }
}
