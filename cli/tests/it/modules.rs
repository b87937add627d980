//! Modules that the cases call.

use crate::guest::{DATA, guest};

/// Proceeds.
pub fn proceeds() -> Vec<u8> {
    guest("scribe:hooks/decision-hook").build()
}

/// Skips, and says why.
pub fn skips() -> Vec<u8> {
    guest("scribe:hooks/decision-hook")
        .words(DATA, &[1, DATA + 16, 3])
        .text(DATA + 16, "why")
        .does("decide", &format!("i32.const {DATA}"))
        .build()
}

/// Never answers.
pub fn spins() -> Vec<u8> {
    guest("scribe:hooks/decision-hook").does("decide", "(loop $on (br $on)) i32.const 512").build()
}

/// Says that whatever the settings are, `/a` is wrong.
pub fn refuses_settings() -> Vec<u8> {
    let problem = DATA + 16;
    guest("scribe:hooks/decision-hook")
        // err([{ path: some("/a"), message: "no" }])
        .words(DATA, &[1, problem, 1])
        .words(problem, &[1, DATA + 64, 2, DATA + 68, 2])
        .text(DATA + 64, "/a")
        .text(DATA + 68, "no")
        .does("validate", &format!("i32.const {DATA}"))
        .build()
}

/// Names no replica.
pub fn keeps_nothing() -> Vec<u8> {
    guest("scribe:hooks/retention-hook").build()
}

/// Scales the Deployment `web` down to 0, and is at rest if the host did that; fails if not.
pub fn scales_down() -> Vec<u8> {
    let text = |at: u32, length: u32| format!("(i32.const {at}) (i32.const {length})");
    let (api_version, kind, name) = (text(DATA, 7), text(DATA + 16, 10), text(DATA + 32, 3));
    let answer = DATA + 64;
    guest("scribe:hooks/quiesce-hook")
        .imports(
            "freeze",
            "scale-down",
            "scale_down",
            "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
        )
        .text(DATA, "apps/v1")
        .text(DATA + 16, "Deployment")
        .text(DATA + 32, "web")
        // err(failed("x"))
        .words(DATA + 128, &[1, 2, DATA + 32, 3])
        .does(
            "quiesce",
            &format!(
                "(call $scale_down {api_version} {kind} (i32.const 0) (i32.const 0) {name} (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const {answer}))
                 (if (result i32) (i32.load8_u (i32.const {answer})) (then (i32.const {})) (else (i32.const 512)))",
                DATA + 128
            ),
        )
        .build()
}

/// Sleeps for ten seconds before each sync.
pub fn sleeps() -> Vec<u8> {
    guest("scribe:hooks/lifecycle-hook")
        .imports("time", "sleep-millis", "sleep", "(param i32)")
        .does("pre-sync", "(call $sleep (i32.const 10000)) i32.const 512")
        .build()
}
