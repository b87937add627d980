//! Guards as the movers and as the API know them.

use scribe_crds::v1alpha1::Guard;
use scribe_mover_contract::guards;

/// The API's name of a guard.
pub(crate) fn named(guard: guards::Guard) -> Guard {
    match guard {
        guards::Guard::EmptySource => Guard::EmptySource,
        guards::Guard::DeletedFiles => Guard::DeletedFiles,
        guards::Guard::DeletedBytes => Guard::DeletedBytes,
        guards::Guard::RewrittenFiles => Guard::RewrittenFiles,
    }
}
