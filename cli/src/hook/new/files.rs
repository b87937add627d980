//! The templates, as they are in `sdk/`.

/// A file's path, and its text.
pub type Template = (&'static str, &'static str);

/// What stands in `sdk/` at that place.
macro_rules! embedded {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../../sdk/", $folder, "/", $name)))),+]
    };
}

/// A project in Rust, whatever its point.
pub static RUST: [Template; 4] = embedded!("templates/rust":
    ".cargo/config.toml",
    ".gitignore",
    "Cargo.toml.template",
    "README.md",
);
/// Its `src/lib.rs`, by the point.
pub static POINTS: [Template; 7] = embedded!("templates/rust/points":
    "decision.rs",
    "failure.rs",
    "lifecycle.rs",
    "promotion.rs",
    "quiesce.rs",
    "retention.rs",
    "transfer.rs",
);
/// A project in Python.
pub static PYTHON: [Template; 5] = embedded!("templates/python":
    ".gitignore",
    "README.md",
    "app.py",
    "requirements-build.txt",
    "test_app.py",
);
/// A project in JavaScript.
pub static JAVASCRIPT: [Template; 5] = embedded!("templates/javascript":
    ".gitignore",
    "README.md",
    "hook.js",
    "hook.test.js",
    "package.json",
);
/// The first test case, by the point.
pub static CASES: [Template; 7] = embedded!("templates/cases":
    "decision.yaml",
    "failure.yaml",
    "lifecycle.yaml",
    "promotion.yaml",
    "quiesce.yaml",
    "retention.yaml",
    "transfer.yaml",
);
/// The contract.
pub static WIT: [Template; 4] = embedded!("wit":
    "host.wit",
    "points.wit",
    "types.wit",
    "worlds.wit",
);
