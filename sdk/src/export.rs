//! How a type becomes a module.

/// Makes a type the module's hook, at the points that follow it: exactly these are exported, and nothing is where this is not compiled
/// for WASM. Once in a crate.
///
/// ```
/// # use scribe_hook_sdk::{Context, Decision, Hook, Lifecycle, decision::Verdict, export};
/// # struct Friday;
/// # impl Hook for Friday { type Settings = (); }
/// # impl Decision for Friday { fn decide(_: &Context<()>) -> Verdict { Verdict::Proceed } }
/// # impl Lifecycle for Friday {}
/// export!(Friday: Decision, Lifecycle);
/// ```
///
/// A point whose trait is missing, or that does not exist, is an error:
///
/// ```compile_fail
/// # use scribe_hook_sdk::{Context, Decision, Hook, Lifecycle, decision::Verdict, export};
/// # struct Friday;
/// # impl Hook for Friday { type Settings = (); }
/// # impl Decision for Friday { fn decide(_: &Context<()>) -> Verdict { Verdict::Proceed } }
/// export!(Friday: Decision, Lifecycle);
/// ```
#[macro_export]
macro_rules! export {
    ($hook:ident: $($point:ident),+ $(,)?) => {
        impl $crate::__private::Package for $hook {
            const NAME: &'static str = env!("CARGO_PKG_NAME");
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
        }

        $crate::__export!(Settings $hook);
        $($crate::__export!($point $hook);)+
    };
}

/// Exports one interface. What is no point's name is told by name.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (Settings $hook:ident) => { $crate::__export!(@export export_settings settings $hook); };
    (Decision $hook:ident) => { $crate::__export!(@point Decision export_decision decision $hook); };
    (Transfer $hook:ident) => { $crate::__export!(@point Transfer export_transfer transfer $hook); };
    (Retention $hook:ident) => { $crate::__export!(@point Retention export_retention retention $hook); };
    (Quiesce $hook:ident) => { $crate::__export!(@point Quiesce export_quiesce quiesce $hook); };
    (Lifecycle $hook:ident) => { $crate::__export!(@point Lifecycle export_lifecycle lifecycle $hook); };
    (Failure $hook:ident) => { $crate::__export!(@point Failure export_failure failure $hook); };
    (Promotion $hook:ident) => { $crate::__export!(@point Promotion export_promotion promotion $hook); };
    ($other:ident $hook:ident) => {
        compile_error!(concat!(
            "there is no hook point `", stringify!($other),
            "`: use Decision, Transfer, Retention, Quiesce, Lifecycle, Failure or Promotion"
        ));
    };
    (@point $point:ident $macro:ident $module:ident $hook:ident) => {
        // So that a point without its trait is an error in the author's own tests too, and a plain one.
        const _: fn() = || {
            fn implements<T: $crate::$point>() {}
            implements::<$hook>();
        };
        $crate::__export!(@export $macro $module $hook);
    };
    (@export $macro:ident $module:ident $hook:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__private::$module::$macro!($hook with_types_in $crate::__private::$module);
    };
}
