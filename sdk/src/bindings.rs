//! What wit-bindgen makes of the contract in `wit/`.
//!
//! Each hook point has a world of its own, so that a module can export just those that it implements. wit-bindgen describes a world's
//! exports to the linker only where its `export_…!` macro is used, and the linker joins the worlds of all that are.

#![allow(unsafe_code, reason = "wit-bindgen: values cross the boundary of the module through linear memory")]
#![allow(
    missing_docs,
    reason = "the contract's own comments are the documentation; what has none is told by its name"
)]

/// What a module may ask of the host, and the types that all points share.
pub mod host {
    wit_bindgen::generate!({
        path: "wit",
        world: "scribe:hooks/effect-imports",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

/// One world for each interface that a module may export.
macro_rules! world {
    ($module:ident, $inline:literal, $world:literal, $export:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                inline: $inline,
                world: $world,
                with: { "scribe:hooks/types@0.1.0": crate::bindings::host::scribe::hooks::types },
                additional_derives: [PartialEq, Eq],
                pub_export_macro: true,
                export_macro_name: $export,
                type_section_suffix: $world,
            });
        }
    };
}

world!(
    settings,
    "package scribe:sdk; world settings { export scribe:hooks/settings@0.1.0; }",
    "scribe:sdk/settings",
    "export_settings"
);
world!(
    decision,
    "package scribe:sdk; world decision { export scribe:hooks/decision@0.1.0; }",
    "scribe:sdk/decision",
    "export_decision"
);
world!(
    transfer,
    "package scribe:sdk; world transfer { export scribe:hooks/transfer@0.1.0; }",
    "scribe:sdk/transfer",
    "export_transfer"
);
world!(
    retention,
    "package scribe:sdk; world retention { export scribe:hooks/retention@0.1.0; }",
    "scribe:sdk/retention",
    "export_retention"
);
world!(
    quiesce,
    "package scribe:sdk; world quiesce { export scribe:hooks/quiesce@0.1.0; }",
    "scribe:sdk/quiesce",
    "export_quiesce"
);
world!(
    lifecycle,
    "package scribe:sdk; world lifecycle { export scribe:hooks/lifecycle@0.1.0; }",
    "scribe:sdk/lifecycle",
    "export_lifecycle"
);
world!(
    failure,
    "package scribe:sdk; world failure { export scribe:hooks/failure@0.1.0; }",
    "scribe:sdk/failure",
    "export_failure"
);
world!(
    promotion,
    "package scribe:sdk; world promotion { export scribe:hooks/promotion@0.1.0; }",
    "scribe:sdk/promotion",
    "export_promotion"
);
