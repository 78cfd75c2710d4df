#![no_main]
//! Any bytes as the sections of a bundle (behind the signature): an error or a validated plan, never a panic.

use libfuzzer_sys::fuzz_target;
use twinmask_codec as codec;
use twinmask_model::graph::Graph;
use twinmask_model::plan::{Plan, PlanParts};
use twinmask_model::shapes;

fuzz_target!(|data: &[u8]| {
    if let Ok(parts) = codec::decode::<PlanParts, { 1 << 20 }>(data)
        && let Ok(plan) = Plan::new(parts)
    {
        for r in plan.round_ids() {
            let _ = (plan.upload_parts(r), plan.answer_parts(r), plan.answer_parts_dropped(r));
        }
    }
    if let Ok(graph) = codec::decode::<Graph, { 1 << 20 }>(data) {
        let _ = shapes::check(&graph, 64 << 20);
    }
});
