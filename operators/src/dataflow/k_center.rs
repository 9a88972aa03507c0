//! Chooses PatchCore's coreset, greedy k-center, over the workers' shards.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::{Broadcast, Map, ToStream};
use timely::dataflow::operators::{Capability, Concat, ConnectLoop, Feedback};
use timely::dataflow::{Scope, StreamVec};

use crate::detector::coreset::{CoresetShard, Farthest};

/// A row that was picked: the `step`-th centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoresetPick {
    /// Round it was picked in, from 0.
    pub step: u64,
    /// The row, as it was pushed to its shard.
    pub row_id: u64,
}

/// Picks `k` centres, one per round; the round is the timestamp. Each round every worker learns all candidates, takes the
/// farthest (ties: the lowest row), updates its own shard's distances and answers with its new farthest row. So the picks
/// are those of one worker that holds all rows, whatever the sharding. Every worker's stream states all picks.
///
/// `first` is the first centre, given on worker 0 only. A worker without rows takes part and says nothing.
pub fn k_center<'scope>(
    scope: Scope<'scope, u64>,
    mut shard: CoresetShard,
    first: Option<Farthest>,
    k: u64,
) -> StreamVec<'scope, u64, CoresetPick> {
    let (loop_handle, answers) = scope.feedback::<Vec<Farthest>>(1);
    let candidates = first.to_stream(scope).concat(answers).broadcast();
    type Builder = CapacityContainerBuilder<Vec<(CoresetPick, Option<Farthest>)>>;
    let rounds = candidates.unary_frontier::<Builder, _, _, _>(Pipeline, "KCenter", move |_, _| {
        let mut open: BTreeMap<u64, (Capability<u64>, Farthest)> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|time, candidates| {
                let Some(capability) = time.retain_least(0) else { return };
                for candidate in candidates.drain(..) {
                    let round = open.entry(*capability.time());
                    let (_, best) = round.or_insert_with(|| (capability.clone(), candidate.clone()));
                    if candidate.beats(best) {
                        *best = candidate;
                    }
                }
            });
            while let Some(entry) = open.first_entry()
                && !frontier.less_equal(entry.key())
            {
                let (step, (capability, best)) = entry.remove_entry();
                let pick = CoresetPick {
                    step,
                    row_id: best.row_id,
                };
                let answer = if step + 1 < k {
                    shard.step(best.row_id, &best.vector)
                } else {
                    None
                };
                output.session(&capability).give((pick, answer));
            }
        }
    });
    rounds.clone().flat_map(|(_, answer)| answer).connect_loop(loop_handle);
    rounds.map(|(pick, _)| pick)
}
