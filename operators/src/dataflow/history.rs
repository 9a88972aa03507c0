//! Gives a dataflow the past of a run.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

/// Emits what `next_page` gives, each record at its time, until it gives nothing more. Records come in order of time; a page is
/// asked for when the dataflow has looked at the one before it, so that the past need not be in memory as a whole.
///
/// A worker without a past passes a `next_page` that gives nothing.
pub fn history<'scope, D: Clone + 'static>(
    scope: Scope<'scope, u64>,
    mut next_page: impl FnMut() -> Option<Vec<(u64, D)>> + 'static,
) -> StreamVec<'scope, u64, D> {
    let mut builder = OperatorBuilder::new("History".to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let (output, stream) = builder.new_output();
    let mut output: OutputBuilder<u64, CapacityContainerBuilder<Vec<D>>> = OutputBuilder::from(output);
    builder.build(move |mut capabilities| {
        move |_| {
            let Some(capability) = capabilities.first_mut() else {
                return;
            };
            let Some(page) = next_page() else {
                capabilities.clear();
                return;
            };
            let mut output = output.activate();
            for (time_us, record) in page {
                capability.downgrade(&time_us.max(*capability.time()));
                output.session(capability).give(record);
            }
            activator.activate();
        }
    });
    stream
}
